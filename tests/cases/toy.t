#!/usr/bin/perl
# toy: act-toy from the shell, its files read by other code (tests/ref): the rows are the codes times the truth, the
# header and the tables say what is in them, seeds and threads, what each tool makes of the truth, misuse.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
no warnings 'qw';                 # commas in options
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

sub read_one { return stream_read($_[0])->[0] }

# act-toy -q with a stream, codes and truth; returns stream, codes, truth (a safetensors file as st_read has it).
sub toy {
    runs(qw(act-toy -q -o x.saes --codes c.saes --truth t.sae), @_);
    return (read_one('x.saes'), read_one('c.saes'), st_read('t.sae'));
}

# Codes times rows.
sub product {
    my ($codes, $rows) = @_;
    my @out;
    for my $c (@$codes) {
        my @x = (0) x @{ $rows->[0] };
        for my $g (keys %$c) {
            $x[$_] += $c->{$g} * $rows->[$g][$_] for 0 .. $#x;
        }
        push @out, \@x;
    }
    return \@out;
}

sub dot {
    my ($x, $y) = @_;
    my $sum = 0;
    $sum += $x->[$_] * $y->[$_] for 0 .. $#$x;
    return $sum;
}

sub mean_active {
    my ($codes) = @_;
    my $n = 0;
    $n += keys %$_ for @$codes;
    return $n / @$codes;
}

# ---- rows are codes times truth, for every way to make them ----

my @ways = (
    [],
    [qw(-d 5 -g 3 -a 1)],
    [qw(-d 16 -g 16 --orthonormal --law exponential)],
    [qw(-d 20 -g 40 --exactly 3 --law constant)],
    [qw(-d 16 -g 16 --pairs .6 -a .8)],
    [qw(-d 2 -g 2 --composed .2,.2,.2 --law constant)],
    [qw(-d 32 -g 64 --clusters 4:.5 --scales geometric:.95 --law lognormal)],
    [qw(-d 24 -g 30 --polytope simplex --law uniform2)],
    [qw(-d 6 -g 16 --polytope antiprism --scales lognormal:.5)],
    [qw(-d 7 -g 20 --polytope polygon:5 --range -1,1)],
    [qw(-d 9 -g 36 --polytope cross:3)],
    [qw(-d 5 -g 20 -a 1 --superposition 100)],
    [qw(-d 32 -g 64 --corr sample --coupling 8:.6)],
    [qw(-d 32 -g 64 --corr batch --batch 50 --decay .98)],
    [qw(-d 32 -g 64 --corr dataset --share .3)],
);
for my $way (@ways) {
    my $name = "@$way" || 'defaults';
    my ($x, $c, $t) = toy(qw(-n 300 -s 4), @$way);
    my ($rows, $scale) = (st_rows($t, 'W_dec'), [ split ' ', $t->{meta}{feature_scale} ]);
    my ($d, $g) = (scalar @{ $rows->[0] }, scalar @$rows);
    is("$x->{header}{kind} $x->{header}{d} $x->{header}{rows}", "acts $d 300", "$name: header of the rows");
    is("$c->{header}{kind} $c->{header}{d} $c->{header}{rows}", "codes $g 300", "$name: header of the codes");
    is(scalar @{ $x->{x} }, 300, "$name: 300 rows");
    near_rows($x->{x}, product($c->{codes}, $rows), 1e-6, "$name: rows are codes times truth");
    is(scalar(grep { abs(dot($_, $_) - 1) > 1e-6 } @$rows), 0, "$name: unit directions");
    is("@$scale", join(' ', (1) x $g), "$name: no scales") if "@$way" !~ /scales|superposition/;
    my @p = split ' ', $t->{meta}{feature_p};
    my $sum = 0;
    $sum += $_ for @p;
    cmp_ok(abs($sum - $x->{header}{toy}{mean_active}), '<', 1e-6, "$name: the mean of the header is that of the features");
    cmp_ok(abs(mean_active($c->{codes}) / $sum - 1), '<', 0.25, "$name: and about that of the codes") if $name !~ /dataset|batch/;
    is(join(' ', sort @{ $t->{names} }), 'W_dec b_dec', "$name: a decoder and no encoder");
}

# ---- the published preset, and what it became ----

my ($code, $out, $err) = tool(qw(act-toy --preset sharkey -n 50000 -o x.saes --codes c.saes));
my ($x, $c) = (read_one('x.saes'), read_one('c.saes'));
is($code, 0, '--preset sharkey');
my $want = 5 / 512 * (1 - 0.99**512) / 0.01;
cmp_ok(abs($x->{header}{toy}{mean_active} - $want), '<', 1e-9, 'its expected number of active features, in the header');
cmp_ok(abs($want - 0.971), '<', 5e-4, 'is 0.971, not 5');
my $got = mean_active($c->{codes});
cmp_ok(abs($got - $want), '<', 5 * sqrt($want / 50000), 'so is what is drawn');
like($err, qr/\Aact-toy: 50000 rows, (\d\.\d+) features active on average \(0\.9709 expected\)\n\z/, 'which it says');
cmp_ok(abs($1 - $got), '<', 1e-3, 'as it is') if $err =~ /rows, (\d\.\d+)/;
is("$x->{header}{d} $c->{header}{d}", '256 512', 'its sizes');
runs(qw(act-toy -q --preset sharkey -d 20 -n 10 -o x.saes));
is(read_one('x.saes')->{header}{d}, 20, 'options beside a preset count');
my ($r, $k) = toy(qw(-d 8 -g 512 -a 5 --decay .99 -n 20000));
cmp_ok(abs(mean_active($k->{codes}) - 5), '<', 0.08, '--decay alone keeps the mean');

# ---- noise ----

my ($clean) = toy(qw(-n 4000 -d 10 -g 20));
($code, $out, $err) = tool(qw(act-toy -n 4000 -d 10 -g 20 --noise .3 -o x.saes --codes d.saes));
is(file_read('c.saes') eq file_read('d.saes'), '', 'noise is in the history of the codes');
is_deeply(read_one('c.saes')->{codes}, read_one('d.saes')->{codes}, 'and changes none of them');
my $noisy = read_one('x.saes')->{x};
my ($signal, $noise) = (0, 0);
for my $i (0 .. $#$noisy) {
    my @e = map { $noisy->[$i][$_] - $clean->{x}[$i][$_] } 0 .. 9;
    $noise += dot(\@e, \@e);
    $signal += dot($clean->{x}[$i], $clean->{x}[$i]);
}
cmp_ok(abs($noise / 40000 - 0.09), '<', 5 * 0.09 * sqrt(2 / 40000), 'its variance is sigma^2');
my ($ratio) = $err =~ /signal-to-noise ratio ([\d.]+)/;
cmp_ok(abs($ratio / ($signal / $noise) - 1), '<', 1e-3, 'the ratio it prints is that of the rows');

# ---- seeds, threads, types ----

for my $way ([], [qw(--corr batch --noise .1)], [qw(--orthonormal -g 64)], [qw(--superposition 50 -d 8)]) {
    runs(qw(act-toy -q -n 5000 -d 64 -j 1 -o a.saes), @$way);
    runs(qw(act-toy -q -n 5000 -d 64 -j 2 -o b.saes), @$way);
    runs(qw(act-toy -q -n 5000 -d 64 -j 7 -o c.saes), @$way);
    runs(qw(act-toy -q -n 5000 -d 64 -s 1 -o d.saes), @$way);
    ok(file_read('a.saes') eq file_read('b.saes') && file_read('a.saes') eq file_read('c.saes'), "@$way: -j changes nothing");
    ok(file_read('a.saes') ne file_read('d.saes'), "@$way: -s does");
}
my $long = (toy(qw(-n 300)))[0]{x};
my $short = (toy(qw(-n 123)))[0]{x};
is_deeply($short, [ @$long[ 0 .. 122 ] ], '-n N gives the first N rows');
runs(qw(act-toy -q -n 50 -t bf16 -o x.saes));
my $narrow = read_one('x.saes');
is("$narrow->{header}{dtype}", 'bf16', '-t bf16');
near_rows($narrow->{x}, [ @$long[ 0 .. 49 ] ], 0.005, 'the same rows, rounded');
my ($none) = toy(qw(-n 0));
is(scalar @{ $none->{x} }, 0, '-n 0: no rows, and a stream');

# The history can be given again.
for my $way (@ways) {
    runs(qw(act-toy -q -n 20 -o x.saes), @$way);
    my $first = file_read('x.saes');
    runs(qw(act-toy -q -o x.saes), @{ read_one('x.saes')->{header}{history}[0]{args} });
    ok($first eq file_read('x.saes'), "@$way: the command in the history makes the same bytes");
}

# ---- tables ----

runs(qw(act-toy -q -n 3000 -d 16 -g 6 -a 2 --decay .8 --scales geometric:.9 -o x.saes --codes c.saes --truth t.sae
    --feature-table f.tsv --coactive a.tsv));
($x, $c, my $t) = (read_one('x.saes'), read_one('c.saes'), st_rows(st_read('t.sae'), 'W_dec'));
my ($names, $features) = tsv_read(file_read('f.tsv'));
is("@$names", 'feature p active mean scale interference lost invented', 'table of features');
my (@want, @pairs);
for my $g (0 .. 5) {
    my ($on, $sum, $z, $z2, $lost, $invented) = (0) x 6;
    for my $i (0 .. 2999) {
        my $code = $c->{codes}[$i]{$g};
        my $y = dot($x->{x}[$i], $t->[$g]);
        my $rest = $y - ($code // 0);
        ($on, $sum) = ($on + 1, $sum + $code) if defined $code;
        ($z, $z2) = ($z + $rest / 3000, $z2 + $rest * $rest / 3000);
        $lost++ if defined $code && $y <= 0.9**$g / 2;
        $invented++ if !defined $code && $y > 0.9**$g / 2;
    }
    push @want, [ $g, 2 * 0.8**$g * 0.2 / (1 - 0.8**6), $on / 3000, $sum / $on, 0.9**$g, $z2 - $z * $z, $lost / $on,
        $invented / (3000 - $on) ];
    push @pairs, [ $g, map { my $h = $_; scalar(grep { defined $_->{$g} && defined $_->{$h} } @{ $c->{codes} }) / 3000 } 0 .. 5 ];
}
near_rows([ map { my $f = $_; [ map { $f->{$_} } @$names ] } @$features ], \@want, 1e-6, 'says what is in the rows');
($names, my $together) = tsv_read(file_read('a.tsv'));
near_rows([ map { my $f = $_; [ map { $f->{$_} } @$names ] } @$together ], \@pairs, 1e-8, 'and so does that of pairs');

# ---- what other tools make of it ----

runs(qw(act-toy --random-dict r.sae -d 48 -g 300 -s 9));
my $random = st_rows(st_read('r.sae'), 'W_dec');
is(scalar @$random . ' ' . scalar @{ $random->[0] }, '300 48', '--random-dict: its size');
my (undef, $summary) = tsv_read(scalar runs(qw(sae-cossim --random r.sae)));
my %line = map { $_->{statistic} => $_ } @$summary;
cmp_ok(abs($line{rms}{measured} * sqrt(48) - 1), '<', 0.02, 'RMS cosine 1/sqrt(d)');
cmp_ok(abs($line{cos_1_mean}{measured} / $line{cos_1_mean}{law} - 1), '<', 0.02, 'nearest cosine as the law has it');
toy(qw(-n 200 -d 16 -g 16 --orthonormal -s 2));
runs(qw(sae-encode -d -o hat.saes t.sae c.saes));
near_rows(read_one('hat.saes')->{x}, read_one('x.saes')->{x}, 1e-6, 'sae-encode -d of codes and truth gives the rows');
runs(qw(sae-encode --fista --l1 0.02 -o f.saes t.sae x.saes));
my $kept = 0;
my @shrunk = map { my $row = $_; +{ map { $row->{$_} > 0.01 ? ($_ => $row->{$_} - 0.01) : () } keys %$row } }
    @{ read_one('c.saes')->{codes} };
near_rows(dense_rows(read_one('f.saes')->{codes}, 16), dense_rows(\@shrunk, 16), 1e-4,
    'sae-encode --fista finds them, each lambda/2 too small');
is(st_read('t.sae')->{meta}{l1} + 0, 0.1, 'the stored penalty');
($names, $summary) = tsv_read(scalar runs(qw(sae-cossim --summary t.sae t.sae)));
my ($mmcs) = map { $_->{measured} } grep { $_->{statistic} eq 'mmcs_a_to_b' } @$summary;
cmp_ok(abs($mmcs - 1), '<', 1e-6, 'MMCS of truth with itself');

# ---- misuse ----

misuse(2, qr/-a|active/, qw(act-toy -o x -g 10 -a 11));
misuse(2, qr/at most 5\.7|at most/, qw(act-toy -o x -a 20 --decay .9));
misuse(2, qr/exclude each other/, qw(act-toy -o x --exactly 3 --pairs .5));
misuse(2, qr/exclude each other/, qw(act-toy -o x --clusters 2:.5 --polytope cross));
misuse(2, qr/not beside -a/, qw(act-toy -o x --exactly 3 -a 2));
misuse(2, qr/exactly 200 active of 128/, qw(act-toy -o x --exactly 200));
misuse(2, qr/do not fit into a width of 64/, qw(act-toy -o x --orthonormal));
misuse(2, qr/not whole groups of 3/, qw(act-toy -o x --polytope simplex));
misuse(2, qr/--polytope: 'cube'/, qw(act-toy -o x --polytope cube));
misuse(2, qr/--polytope: 'polygon:2'/, qw(act-toy -o x --polytope polygon:2));
misuse(2, qr/--polytope: 'antiprism:8'/, qw(act-toy -o x --polytope antiprism:8));
misuse(2, qr/--clusters: a cosine of -0\.5 among 4: it can be -0\.333333/, qw(act-toy -o x --clusters 4:-.5));
misuse(2, qr/--clusters: '4' is not K:RHO/, qw(act-toy -o x --clusters 4));
misuse(2, qr/--scales: 'geometric:0'/, qw(act-toy -o x --scales geometric:0));
misuse(2, qr/--composed: three/, qw(act-toy -o x --composed .1,.2));
misuse(2, qr/above 1/, qw(act-toy -o x --composed .5,.4,.2));
misuse(2, qr/--range/, qw(act-toy -o x --range 1,0));
misuse(2, qr/--range: only with/, qw(act-toy -o x --range 0,2 --law constant));
misuse(2, qr/--coupling/, qw(act-toy -o x --coupling 4:.5));
misuse(2, qr/--share/, qw(act-toy -o x --share .5 --corr sample));
misuse(2, qr/--batch/, qw(act-toy -o x --batch 5));
misuse(2, qr/at most 2048/, qw(act-toy -o x -g 3000 --corr sample));
misuse(2, qr/two outputs are both x/, qw(act-toy -o x --codes x));
misuse(2, qr/standard output is for the rows/, qw(act-toy --truth -));
misuse(2, qr/writes a dictionary alone/, qw(act-toy --random-dict r -o x));
misuse(2, qr/--pairs/, qw(act-toy -o x --pairs 1));
misuse(1, qr/missing/, qw(act-toy -q -o x --truth missing/t.sae));
ok(!-e 'x', 'and where the truth cannot be written there are no rows either');
done_testing();
