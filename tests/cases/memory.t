#!/usr/bin/perl
# memory: what a filter holds does not grow with its stream. Each runs under a limit on its address space over a stream that is
# larger than the limit; a control shows that the limit would catch a tool that kept the rows.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

plan skip_all => 'a sanitizer maps terabytes' if $ENV{SANITIZE};
$ENV{OPENBLAS_NUM_THREADS} = 1;

my ($d, $m, $copies, $limit) = (64, 128, 60, 400_000);      # 60 sections of 8 MB are 480 MB; the limit is in KB
srand 7;
sae_write('sae', sae_random('relu', $d, $m));
my $small = pack 'f<*', map { gauss() } 1 .. 1000 * $d;
file_write('raw', $small x 32);
system('act-cat', '--from', 'raw', '-d', $d, '-o', 'acts', 'raw') == 0 or die;
system('sae-encode', '-o', 'codes', 'sae', 'acts') == 0 or die;

# Run a pipeline whose first stage repeats a file; the tool under the limit is the last.
sub bounded {
    my ($file, @tool) = @_;
    my $files = join ' ', ($file) x $copies;
    my ($code, undef, $err) = tool('bash', '-o', 'pipefail', '-c', "cat $files | (ulimit -v $limit; exec @tool) > /dev/null");
    return ($code, $err);
}

my ($code, $err) = bounded('acts', q(perl -e 'local $/; my $all = <STDIN>; print length $all'));
isnt($code, 0, 'the limit catches a program that keeps the stream');
for my $case ([ 'acts', 'act-cat -o /dev/null' ], [ 'acts', 'act-cat --shuffle' ], [ 'acts', 'act-cat --shuffle=10000' ],
    [ 'codes', 'act-cat --to npz' ], [ 'acts', 'sae-encode -j1 sae' ], [ 'acts', 'sae-encode -j1 --error sae' ],
    [ 'acts', q(sae-patch -j1 -e 'zero 3' sae) ], [ 'acts', q(sae-patch -j1 -e 'zero 3' --replace sae) ],
    [ 'codes', 'sae-encode -j1 -d sae' ], [ 'codes', 'sae-topk -k 5' ],
    [ 'acts', 'sae-fit -q -j1 --kind relu -x 1 --l1 0.1 --buffer 4096 -b 4096 -o fitted' ]) {
    ($code, $err) = bounded(@$case);
    ok($code == 0, "within the limit: $case->[1]") or diag("exit code $code: $err");
}

# act-dump: weights and one batch, however long the text.
my $model = "$ENV{TOP}/pipelines/demo/model";
my $text = "$ENV{TOP}/pipelines/demo/text.txt";
($code, undef, $err) = tool('bash', '-o', 'pipefail', '-c', "cat $text $text $text $text | (ulimit -v $limit; "
    . "exec act-dump -q -j1 -m $model -p blocks.0.mlp.hook_post) > /dev/null");       # 1.1 GB of rows
ok($code == 0, 'within the limit: act-dump') or diag("exit code $code: $err");

# act-splice: a group of contexts. A small model with wide rows, so that many bytes are little work.
system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 264 --d-model 8 --heads 2 --layers 1 --d-mlp 8192 --ctx 64 wide)) == 0 or die;
file_write('text', join ' ', ('some text to fill contexts with') x 10);
system(qw(act-dump -q -m wide -p blocks.0.mlp.hook_post -o wide.saes text)) == 0 or die;
$copies = int(480e6 / -s 'wide.saes');
for my $job ('', '--summary', '--logits') {
    ($code, $err) = bounded('wide.saes', "act-splice -q -j1 $job -m wide -p blocks.0.mlp.hook_post");
    ok($code == 0, "within the limit: act-splice $job") or diag("exit code $code: $err");
}

done_testing();
