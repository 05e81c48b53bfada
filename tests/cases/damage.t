#!/usr/bin/perl
# damage: what the tools make of a stream that is not as it was written: bits flipped, cut anywhere, batches lost, doubled,
# swapped. They end with 3; what they wrote before is the beginning of the true output, and its reader ends with 3 as well.
# (Every bit and every cut, in one process: tests/unit/test_stream.c.)
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 2;
my $s = sae_random('relu', 2, 3);
sae_write('s.sae', $s);
my %columns = (doc => [ 0, 0, 0, 1, 1, 1 ], ctx => [ 0, 0, 0, 1, 1, 1 ], pos => [ 1, 2, 3, 1, 2, 3 ], tok => [ 5 .. 10 ],
    text => [qw(a b c d e f)]);
my $rows = random_rows(6, 2, 1);
$_->[0] += 3 for @$rows;
stream_write('acts', 'acts', 2, $rows, %columns, batch => 2, header => { hook => 'hook_embed' });
runs(qw(sae-encode -o codes s.sae acts));
system('zstd -q -o acts.zst acts; zstd -q -o codes.zst codes') == 0 or BAIL_OUT('zstd');
runs(qw(act-cat -z -o frames acts));

my @filters = ([qw(act-cat)], [qw(sae-encode s.sae)], [qw(sae-encode --error s.sae)], [ qw(sae-patch -e), 'zero 1', 's.sae' ],
    [ qw(sae-patch --at last -e), 'zero 1', 's.sae' ], [qw(act-cat --to tsv)]);
my @of_codes = ([qw(act-cat)], [qw(sae-encode -d s.sae)]);

# Run a filter on bytes, which stand under the one name `in` so that headers are the same. Returns exit code, output, errors.
sub filtered {
    my ($bytes, @filter) = @_;
    file_write('in', $bytes);
    return tool(@filter, 'in');
}

# Is a failure as it should be? $true is what the filter makes of undamaged input. "" or what is wrong.
sub improper {
    my ($true, $code, $out, $err, @filter) = @_;
    return "exit code $code" if $code != 3;
    return "messages: $err" if $err !~ /\A$filter[0]: in: [^\n]+\n\z/;
    return 'output that is not a beginning of the true one' if $out ne substr $true, 0, length $out;
    return 'all of the output' if $out eq $true;
    return '' if "@filter" =~ /--to/;
    file_write('out', $out);
    my ($next, undef, $said) = tool(qw(act-cat --check out));
    return "the reader of the output exits $next" if $next != 3;
    return "the reader of the output says $said" if $said !~ /\Aact-cat: out: [^\n]+\n\z/;
    return '';
}

# One test for many changed copies: [ name of the change, bytes ]. $harmless: a change may also have no effect at all.
sub all_refused {
    my ($name, $bytes, $filters, $changed, $harmless) = @_;
    for my $filter (@$filters) {
        my ($code, $true) = filtered($bytes, @$filter);
        my ($refused, @wrong) = (0);
        for (@$changed) {
            my ($what, $copy) = @$_;
            my ($got, $out, $err) = filtered($copy, @$filter);
            next if $harmless && $got == 0 && $out eq $true;
            my $wrong = improper($true, $got, $out, $err, @$filter);
            push @wrong, "$what: $wrong" if $wrong;
            $refused++;
        }
        ok($code == 0 && !@wrong && $refused > @$changed / 2, "$name: @$filter: $refused of " . @$changed . ' refused')
            or diag(join "\n", @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ]);
    }
}

sub flip {
    my ($bytes, $bit) = @_;
    substr($bytes, $bit >> 3, 1) ^= chr(1 << ($bit & 7));
    return $bytes;
}

sub some { my ($n, $step) = @_; return map { $_ * $step + int rand $step } 0 .. int(($n - $step) / $step) }

# ---- bits and cuts ----

for ([ 'acts', \@filters ], [ 'codes', \@of_codes ], [ 'acts.zst', [ @filters[ 0, 1 ] ] ], [ 'frames', [ $filters[1] ] ],
    [ 'codes.zst', [ $of_codes[1] ] ]) {
    my ($file, $filters) = @$_;
    my ($bytes, $n) = (file_read($file), -s $file);
    all_refused("$file, a bit flipped", $bytes, $filters, [ map { [ "bit $_", flip($bytes, $_) ] } some(8 * $n, 151) ],
        $file !~ /^(acts|codes)$/);
    all_refused("$file, cut", $bytes, $filters, [ map { [ "at $_", substr $bytes, 0, $_ ] } 0, 1, $n - 1, some($n, 29) ]);
}

# ---- batches ----

# The records of a stream, as bytes.
sub records {
    my ($bytes) = @_;
    my @records;
    stream_parse($bytes, sub { push @records, substr $bytes, $_[0], $_[1] - $_[0] });
    return @records;
}

for ([ 'acts', \@filters ], [ 'codes', \@of_codes ]) {
    my ($file, $filters) = @$_;
    my $bytes = file_read($file);
    my ($h, $a, $b, $c, $e) = records($bytes);
    my %order = ('the first batch is lost' => [ $h, $b, $c, $e ], 'the second' => [ $h, $a, $c, $e ],
        'the last' => [ $h, $a, $b, $e ], 'a batch comes twice' => [ $h, $a, $b, $b, $c, $e ],
        'two are swapped' => [ $h, $b, $a, $c, $e ], 'no header' => [ $a, $b, $c, $e ], 'no end' => [ $h, $a, $b, $c ],
        'two headers' => [ $h, $h, $a, $b, $c, $e ], 'a batch behind the end' => [ $h, $a, $b, $c, $e, $c ],
        'an end behind the end' => [ $h, $a, $b, $c, $e, $e ], 'text behind the end' => [ $h, $a, $b, $c, $e, "\n" ]);
    # Where the error comes last, all rows are out already, but never the end record.
    all_refused("$file, records", $bytes, [ grep { "@$_" !~ /--to/ } @$filters ],
        [ map { [ $_, join '', @{ $order{$_} } ] } sort keys %order ]);
}

# A named output is not there after any of it, and what stood there stands.
{
    my $cut = substr file_read('acts'), 0, 500;
    file_write('in', $cut);
    for my $command ([qw(act-cat -o named in)], [qw(act-cat -o named.zst in)], [qw(sae-encode -o named s.sae in)],
        [qw(act-cat --to npy -o named in)], [qw(act-cat --to tsv -o named in)],
        [qw(sae-fit -q --kind tied -x 1 --l1 0.1 -b 2 -o named in)]) {
        misuse(3, qr/: in: record \d+: cut short/, @$command);
        ok(!-e 'named' && !-e 'named.zst' && !glob('.named*'), 'and no output is there');
    }
    file_write('named', 'old');
    misuse(3, qr/: in: record \d+: cut short/, qw(act-cat -o named in));
    is(file_read('named'), 'old', 'what stood there stands');
}

# Through a pipe, without pipefail: the last reader knows.
is(system("head -c 500 acts | act-cat 2>/dev/null | sae-encode s.sae 2>/dev/null | act-cat --check 2>err") >> 8, 3,
    'a pipeline whose first stream is cut fails at its end');
like(file_read('err'), qr/\Aact-cat: <stdin>: [^\n]+\n\z/, 'with one line that names standard input');

done_testing();
