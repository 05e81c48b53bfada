#!/usr/bin/perl
# sparse: sae-encode --fista and --pursuit against the conditions of a minimum worked out in double precision, and the
# kinds of sae-fit that look at rows as a whole, from rows whose truth is known to their codes.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use Test::More;

use constant { D => 24, M => 40, N => 300, L1 => 0.1 };

sub dot {
    my ($x, $y) = @_;
    my ($i, $sum) = (0, 0);
    $sum += $_ * $y->[ $i++ ] for @$x;
    return $sum;
}

sub rows { return stream_read($_[0])->[0] }

# What is left of a row: f W_dec + b_dec - x.
sub rest {
    my ($sae, $code, $x) = @_;
    my @r = map { $sae->{b}[$_] - $x->[$_] } 0 .. $#$x;
    for my $i (keys %$code) {
        $r[$_] += $code->{$i} * $sae->{w}[$i][$_] for 0 .. $#r;
    }
    return \@r;
}

sub objective {
    my ($sae, $code, $x, $l1) = @_;
    my $r = rest($sae, $code, $x);
    my $sum = dot($r, $r);
    $sum += $l1 * abs $_ for values %$code;
    return $sum;
}

# How far the codes are from the conditions of a minimum, the largest over all rows, in units of l1.
sub left {
    my ($sae, $codes, $x, $l1, $signed) = @_;
    my $most = 0;
    for my $n (0 .. $#$x) {
        my $r = rest($sae, $codes->[$n], $x->[$n]);
        for my $i (0 .. $#{ $sae->{w} }) {
            my ($g, $f) = (2 * dot($sae->{w}[$i], $r), $codes->[$n]{$i} // 0);
            my $miss = $f > 0 ? abs $g + $l1 : $f < 0 ? abs $g - $l1 : $signed ? abs($g) - $l1 : -($g + $l1);
            $most = $miss / $l1 if $miss > $most * $l1;
        }
    }
    return $most;
}

sub dictionary {
    my $st = st_read($_[0]);
    return { w => st_rows($st, 'W_dec'), b => st_flat($st, 'b_dec') };
}

runs('act-toy', '-q', '-d', D, '-g', M, '-n', N, '-s', 3, '--truth', 'truth.sae', '-o', 'acts.saes');
my $x = rows('acts.saes')->{x};
my $truth = dictionary('truth.sae');

# ---- a dictionary without an encoder ----

runs('sae-encode', '-o', 'a.saes', 'truth.sae', 'acts.saes');
runs('sae-encode', '--fista', '--l1', L1, '-o', 'b.saes', 'truth.sae', 'acts.saes');
my ($a, $b) = (rows('a.saes'), rows('b.saes'));
is_deeply($a->{codes}, $b->{codes}, 'without an encoder the search needs no asking, and lambda is the stored one');
cmp_ok(left($truth, $a->{codes}, $x, L1), '<', 2e-3, 'a minimum, by the conditions in double');
is("$a->{header}{sae}{by} $a->{header}{sae}{l1}", 'fista ' . L1, 'and the header says so');
runs('sae-encode', '-j', 1, '-o', 'c.saes', 'truth.sae', 'acts.saes');
ok(file_read('a.saes') eq file_read('c.saes'), 'threads do not show');
runs('sae-encode', '--fista', '--signed', '--tol', 1e-4, '--l1', 0.05, '-o', 's.saes', 'truth.sae', 'acts.saes');
my $s = rows('s.saes');
cmp_ok(left($truth, $s->{codes}, $x, 0.05, 1), '<', 1e-3, 'of either sign');
ok((grep { grep { $_ < 0 } values %$_ } @{ $s->{codes} }), 'some are below 0');
runs('sae-patch', '-e', 'zero 3', '-o', 'patched.saes', 'truth.sae', 'acts.saes');
runs('sae-encode', '--error', '-o', 'e.saes', 'truth.sae', 'acts.saes');
near_rows(rows('e.saes')->{x}, [ map { [ map { -$_ } @{ rest($truth, $a->{codes}[$_], $x->[$_]) } ] } 0 .. N - 1 ],
    1e-5, 'the error left by these codes');

# ---- pursuit ----

runs('sae-encode', '--pursuit', 3, '-o', 'p.saes', 'truth.sae', 'acts.saes');
my $p = rows('p.saes');
ok(!(grep { keys %$_ > 3 or grep { $_ <= 0 } values %$_ } @{ $p->{codes} }), 'three features at most, none below 0');
my $worst = 0;
for my $n (0 .. N - 1) {
    my $r = rest($truth, $p->{codes}[$n], $x->[$n]);
    for (map { abs dot($truth->{w}[$_], $r) } keys %{ $p->{codes}[$n] }) { $worst = $_ if $_ > $worst }
}
cmp_ok($worst, '<', 1e-5, 'what is left is orthogonal to the features chosen: least squares');
is("$p->{header}{sae}{by} $p->{header}{sae}{k}", 'pursuit 3', 'and the header says so');

# ---- a dictionary with an encoder ----

runs('sae-fit', '-q', '--kind', 'relu', '--d-sae', 60, '--l1', L1, '--normalize', 'none', '--lr', 0.003, '--epochs', 60, '-o', 'relu.sae',
    'acts.saes');
runs('sae-encode', '-o', 'enc.saes', 'relu.sae', 'acts.saes');
runs('sae-encode', '--fista', '-o', 'opt.saes', 'relu.sae', 'acts.saes');
my ($relu, $enc, $opt) = (dictionary('relu.sae'), rows('enc.saes')->{codes}, rows('opt.saes')->{codes});
my ($above, $gain) = (0, 0);
for my $n (0 .. N - 1) {
    my ($e, $f) = map { objective($relu, $_->[$n], $x->[$n], L1) } $enc, $opt;
    $above++ if $f > $e + 1e-5;
    $gain += $e - $f;
}
is($above, 0, 'no row has a higher objective than its encoding');
cmp_ok($gain / N, '>', 1e-4, 'most have a lower one');
cmp_ok(left($relu, $opt, $x, L1), '<', 5e-3, 'a minimum');

# ---- whole-data kinds ----

my %whole = (pca => 1e-9, ica => 1e-9, identity => 0);          # kinds that lose no more than this
my %size = (pca => 2 * D, ica => 2 * D, identity => 2 * D, rica => 4 * D, nmf => D, random => 4 * D, fista => 4 * D);
for my $kind (sort keys %size) {
    my ($code, undef, $err) = tool('sae-fit', '--kind', $kind, '-q', '-o', "$kind.sae", 'acts.saes');
    is("$code $err", '0 ', "sae-fit --kind $kind");
    is(scalar @{ dictionary("$kind.sae")->{w} }, $size{$kind}, "$kind: features when nobody says how many");
    runs('sae-encode', '--error', '-o', "$kind.saes", "$kind.sae", 'acts.saes');
    my ($lost, $all) = (0, 0);
    $lost += dot($_, $_) for @{ rows("$kind.saes")->{x} };
    $all += dot($_, $_) for @$x;
    cmp_ok($lost / $all, '<=', $whole{$kind}, "$kind: x comes back") if exists $whole{$kind};
}
runs('sae-fit', '-q', '--kind', 'pca', '-k', 2, '-o', 'pca2.sae', 'acts.saes');
runs('sae-encode', '-o', 'pca2.saes', 'pca2.sae', 'acts.saes');
ok(!(grep { keys %$_ != 2 } @{ rows('pca2.saes')->{codes} }), 'pca -k 2: two scores a row');

# ---- what cannot be done ----

misuse(2, qr/from 2 to 48/, 'sae-fit', '--kind', 'ica', '--d-sae', 50, '-o', 'x.sae', 'acts.saes');
misuse(2, qr/from 2 to 48/, 'sae-fit', '--kind', 'pca', '--d-sae', 1, '-o', 'x.sae', 'acts.saes');
misuse(2, qr/not 48/, 'sae-fit', '--kind', 'identity', '--d-sae', 24, '-o', 'x.sae', 'acts.saes');
misuse(2, qr/1 to 48/, 'sae-fit', '--kind', 'pca', '-k', 49, '-o', 'x.sae', 'acts.saes');
misuse(2, qr/1 to 40/, 'sae-encode', '--pursuit', 41, '-o', 'x.saes', 'truth.sae', 'acts.saes');
misuse(2, qr/--l1 goes with --fista/, 'sae-encode', '--l1', 1, '-o', 'x.saes', 'relu.sae', 'acts.saes');
misuse(2, qr/exclude each other/, 'sae-encode', '--fista', '--pursuit', 2, '-o', 'x.saes', 'relu.sae', 'acts.saes');
my (undef, undef, $note) = tool('sae-encode', '--fista', '--iterations', 1, '--tol', 0, '-o', 'x.saes', 'relu.sae',
    'acts.saes');
like($note, qr/300 rows were left short/, 'one step is not enough, and that is said');
done_testing;
