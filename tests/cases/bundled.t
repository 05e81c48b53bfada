#!/usr/bin/perl
# bundled: the language model of the demo at every hook point, against the independent forward pass.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use ModelRef;
use RefFiles;
use RefTest;
use Test::More;

my $dir = "$ENV{TOP}/pipelines/demo/model";
my @ids = (464, 317, 1204, 3, 4095, 256, 1, 77, 900, 2048, 13);
file_write('ids.txt', "@ids\n");
my $want = model_forward(model_load($dir), [ 0, @ids ]);
my @hooks = grep { $_ ne 'nll' } sort keys %$want;
runs('act-dump', '-m', $dir, (map { ('-p', $_) } @hooks), qw(--input ids --bos yes --keep-bos -O {hook}.saes ids.txt));
for (@hooks) {
    my $s = eval { stream_read("$_.saes")->[0] };
    near_rows($s ? $s->{x} : [], $want->{$_}, 2e-5, $_);
}
my @text = split /<\|endoftext\|>\n/, file_read("$ENV{TOP}/pipelines/demo/text.txt");
file_write('passage.txt', $text[0] . $text[1]);
runs(qw(act-dump --split <|endoftext|> -m), $dir, qw(-p blocks.0.mlp.hook_post -n 300 -o a.saes passage.txt));
my $s = stream_read('a.saes')->[0];
is($s->{rows}, 300, '-n stops after so many rows');
is(join('', @{ $s->{text} }), substr($text[0], 0, length join '', @{ $s->{text} }), 'the text column is the text');
done_testing();
