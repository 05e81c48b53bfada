#!/usr/bin/perl
# nan: numbers that are not finite are refused, by record and row, by every tool that reads a stream; with --allow-nan they pass,
# and no other row is touched by them.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 11;
my ($inf, $d) = (9**9**9, 4);
my $nan = $inf - $inf;
my $s = sae_random('relu', $d, 6);
sae_write('s.sae', $s);
my @filters = ([qw(act-cat)], [qw(act-cat --to tsv)], [qw(act-cat --to npy)], [qw(act-cat --check)], [qw(act-cat --info)],
    [qw(sae-encode s.sae)], [qw(sae-encode --error s.sae)], [qw(sae-patch s.sae)], [ qw(sae-patch -e), 'zero all', 's.sae' ],
    [ qw(sae-patch --at last -e), 'zero all', 's.sae' ]);

my $rows = random_rows(10, $d, 1);
my %columns = (ctx => [ (0) x 5, (1) x 5 ], pos => [ (0 .. 4) x 2 ], tok => [ 0 .. 9 ]);
for ([ 'nan', $nan, 'f32' ], [ '+inf', $inf, 'f16' ], [ '-inf', -$inf, 'bf16' ]) {
    my ($name, $value, $type) = @$_;
    my @with = map { [@$_] } @$rows;
    $with[7][2] = $value;
    stream_write('in', 'acts', $d, \@with, %columns, dtype => $type, batch => 4);
    stream_write('fine', 'acts', $d, $rows, %columns, dtype => $type, batch => 4);
    misuse(3, qr/^\Q$_->[0]\E: in: record 2: row 7: a value that is not finite$/, @$_, 'in') for @filters;
    misuse(3, qr/^act-cat: in: record 2: row 7: /, qw(act-cat -o out in));
    ok(!-e 'out', "$name: and no output is there");
    runs(qw(act-cat --allow-nan -o out in));
    my $x = stream_read('out')->[0]{x};
    ok($value == $value ? $x->[7][2] == $value : $x->[7][2] != $x->[7][2], "$name in $type is $x->[7][2] behind act-cat");
    misuse(3, qr/^act-cat: out: record 2: row 7: /, qw(act-cat --check out));
    for my $command ([qw(sae-encode)], [qw(sae-encode --error)], [ qw(sae-patch -q -e), 'zero 1-3' ], [qw(sae-patch --replace)]) {
        my ($code) = tool(@$command, qw(--allow-nan -o out s.sae in));
        is($code, 0, "$name: @$command --allow-nan");
        runs(@$command, qw(-o want s.sae fine));
        my ($got, $want) = map { my $o = stream_read($_)->[0]; $o->{x} // dense_rows($o->{codes}, 6) } 'out', 'want';
        is_deeply([ @$got[ 0 .. 6, 8, 9 ] ], [ @$want[ 0 .. 6, 8, 9 ] ], 'the other rows are as ever');
        unlink 'out', 'want';
    }
}
my @codes = map { +{ 0 => 1, 3 => $_ } } 1 .. 10;
$codes[4]{3} = $nan;
stream_write('codes', 'codes', 6, \@codes, %columns, batch => 3);
misuse(3, qr/^\Q$_->[0]\E: codes: record 2: row 4: a value that is not finite$/, @$_, 'codes')
    for [qw(act-cat)], [qw(act-cat --to tsv)], [qw(sae-topk)], [qw(sae-encode -d s.sae)];
misuse(3, qr/^sae-patch: codes: record 2: row 4: /, qw(sae-patch -e), 'mean 3 codes', qw(s.sae fine));
my (undef, $table) = tsv_read(scalar runs(qw(sae-topk --allow-nan -k 3 -f 0 codes)));
is(scalar @$table, 3, 'sae-topk --allow-nan: other features are as ever');
like(runs(qw(act-cat --allow-nan --to tsv codes)), qr/\t4\t3\tnan\n/, 'a table spells it nan');
like(runs(qw(act-cat --allow-nan --to tsv --json codes)), qr/"value": null/, '--json null');
my $bad = sae_random('relu', $d, 6);
$bad->{dec}[2][1] = $nan;
sae_write('bad.sae', $bad);
misuse(3, qr/bad\.sae: W_dec holds a value that is not finite/, @$_)
    for [qw(sae-encode bad.sae fine)], [qw(sae-cossim bad.sae)], [qw(sae-patch bad.sae fine)];
done_testing();
