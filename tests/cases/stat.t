#!/usr/bin/perl
# stat: sae-stat on generated dictionaries, rows and truths, against the formulas worked out in double precision by other
# code (tests/ref/SaeRef.pm), and against what is known of dictionaries that are simple.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

use constant { M => 40, N => 220, TOL => 1e-5 };

sub table {
    my @table = eval { tsv_read(runs(@_)) };
    fail("table: $@") if !@table;
    return @table ? @table : ([], []);
}

# The summary as { statistic => value }.
sub summary {
    my (undef, $rows) = table('sae-stat', @_);
    return { map { $_->{statistic} => $_->{value} } @$rows };
}

# Each wanted number of a hash agrees, relative to its size (at least 1); texts (not numbers) are the same. One test.
sub near_hash {
    my ($got, $want, $tol, $name) = @_;
    my @bad;
    for (sort keys %$want) {
        my ($g, $w) = ($got->{$_} // 'missing', $want->{$_});
        my $number = $w =~ /^-?[\d.]+(?:e[-+]?\d+)?$/i && $g =~ /^-?[\d.]+(?:e[-+]?\d+)?$/i;
        push @bad, "$_ is $g, not $w" if $number ? !(abs($g - $w) <= $tol * (abs $w > 1 ? abs $w : 1)) : $g ne $w;
    }
    ok(!@bad && %$want, $name) or diag(join "\n", @bad);
}

sub mean {
    my $sum = 0;
    $sum += $_ for @_;
    return @_ ? $sum / @_ : 'nan';
}

# ---- rows and features ----

sub check_rows {
    my ($s, $rows, $codes) = @_;
    my $got = summary(qw(a.sae acts.saes));
    near_hash($got, row_stats($s, $rows, $codes), TOL, "$s->{kind}: rows");
    my ($features, $all) = direction_stats($s);
    near_hash($got, $all, TOL, "$s->{kind}: directions");
    near_hash(summary('a.sae'), $all, TOL, "$s->{kind}: without rows");
    near_hash($got, { d_sae => $s->{m}, d_model => $s->{d}, participation_random => 2 * $s->{d} / 3.14159265358979,
            bound_variance => $s->{d}, bound_jl => $s->{d} / (8 * log $s->{m}),
            frame_potential_least => $s->{m} > $s->{d} ? $s->{m}**2 / $s->{d} : $s->{m} }, TOL, "$s->{kind}: bounds");
    my $mine = feature_stats($s, $rows, $codes);
    my @alive = grep { $_->{density} } @$mine;
    my @overlaps = map { abs } grep { $_ ne '' } map { $_->{overlap} } @$features;
    near_hash($got, { map({ ("${_}_mean" => do { my $k = $_; mean(map { $_->{$k} } @$features) }) }
                qw(dec_norm align denoise max_d participation capacity)),
            overlap_mean => mean(@overlaps), skew_mean => mean(map { $_->{skew} } @alive),
            kurtosis_mean => mean(map { $_->{kurtosis} } @alive),
            neuron_corr_mean => mean(map { abs $_->{neuron_corr} } @alive),
            neuron_corr_share => mean(map { abs $_->{neuron_corr} > 0.3 ? 1 : 0 } @alive),
            dead => @$mine - @alive, dead_window => N, 'below_1e-5' => @$mine - @alive,
            'above_1e-2' => scalar(grep { $_->{density} > 1e-2 } @$mine),
            'above_1e-1' => scalar(grep { $_->{density} > 1e-1 } @$mine) }, TOL, "$s->{kind}: means and counts");
    near_hash(summary(qw(--window 50 a.sae acts.saes)), { dead_window => 50,
            dead => scalar(grep { $_->{last} <= N - 50 } @$mine) }, 0, "$s->{kind}: dead in the last 50 rows");
    my ($names, $table) = table(qw(sae-stat --features a.sae acts.saes));
    is("@$names", 'feature density mean max mean_active last skew kurtosis neuron_corr neuron bias dec_norm enc_norm align '
        . 'denoise overlap overlap_with max_d max_at participation capacity', "$s->{kind}: names of the columns");
    for my $i (0 .. M - 1) {
        my %want = (feature => $i, %{ $mine->[$i] }, %{ $features->[$i] });
        near_hash($table->[$i], \%want, TOL, "$s->{kind}: feature $i");
    }
    is(scalar @$table, M, 'a line for each');
}

sub check_hist {
    my ($codes) = @_;
    my (%count, $dead) = ();
    for my $i (0 .. M - 1) {
        my $n = grep { $_->{$i} } @$codes;
        $n ? $count{ int(-log($n / N) / log(10) * 4 + 1e-9) }++ : $dead++;
    }
    my ($names, $table) = table(qw(sae-stat --hist 4 a.sae acts.saes));
    is("@$names", 'lo hi count share', '--hist: names of the columns');
    my ($first, @bins) = @$table;
    is("$first->{lo}|$first->{hi}|$first->{count}", '||' . ($dead // 0), 'first those that never fire');
    is(join(' ', map { $_->{count} } reverse @bins), join(' ', map { $count{$_} // 0 } 0 .. $#bins), 'then the bins');
    near_rows([ map { [ @$_{qw(lo hi)} ] } reverse @bins ], [ map { [ -($_ + 1) / 4, -$_ / 4 ] } 0 .. 9 ], 1e-9,
        'a quarter of a factor of ten each, from 1 row in all');
}

# ---- forms ----

sub check_forms {
    my ($s, $rows, $codes) = @_;
    my $out = runs(qw(sae-stat a.sae acts.saes));
    is(runs(qw(sae-stat -j 3 a.sae acts.saes)), $out, 'three threads: the same bytes');
    is(runs(qw(sae-stat -j 1 a.sae acts.saes)), $out, 'and one');
    my @objects = map { JSON::PP->new->decode($_) } split /\n/, runs(qw(sae-stat --json a.sae acts.saes));
    my %json = map { $_->{statistic} => $_->{value} } @objects;
    near_hash(\%json, row_stats($s, $rows, $codes), TOL, '--json');
    my @half = map { my $f = $_; +{ map { $_ => $f->{$_} / 2 } keys %$f } } @$codes;
    stream_write('half.saes', 'codes', M, \@half, batch => 13);
    near_hash(summary(qw(--coded half.saes a.sae acts.saes)), row_stats($s, $rows, \@half), TOL,
        '--coded: codes from elsewhere');
    my $without = summary(qw(--no-neurons a.sae acts.saes));
    ok(!exists $without->{neuron_corr_mean} && exists $without->{l0}, '--no-neurons');
    my ($names) = table(qw(sae-stat --no-neurons --features a.sae acts.saes));
    ok(!grep({ /neuron/ } @$names), 'in the lines of features too');
    stream_write('short.saes', 'codes', M, [ @half[ 0 .. N - 2 ] ]);
    misuse(3, qr/short\.saes: has fewer rows/, qw(sae-stat --coded short.saes a.sae acts.saes));
    stream_write('long.saes', 'codes', M, [ @half, $half[0] ]);
    misuse(3, qr/long\.saes: has more rows/, qw(sae-stat --coded long.saes a.sae acts.saes));
    stream_write('wide.saes', 'codes', M + 1, \@half);
    misuse(3, qr/wide\.saes: rows are 41 wide/, qw(sae-stat --coded wide.saes a.sae acts.saes));
    stream_write('none.saes', 'acts', $s->{d}, []);
    misuse(3, qr/none\.saes: .*without rows/, qw(sae-stat a.sae none.saes));
    misuse(2, qr/--codes wants --truth/, qw(sae-stat --codes half.saes a.sae acts.saes));
    misuse(2, qr/want activations/, qw(sae-stat --hist 4 a.sae));
    misuse(2, qr/exclude/, qw(sae-stat --hist 4 --features a.sae acts.saes));
}

# ---- truth ----

sub check_truth {
    my ($s, $rows, $codes, $truths) = @_;
    my $truth = sae_random('tied', $s->{d}, $truths);
    $truth->{dec}[0] = $s->{dec}[5];                            # one that is found
    my @a = map { my %row; $row{ int rand $truths } = 0.2 + rand for 1 .. 3; \%row } 1 .. N;
    $_->{0} = $a[0]{0} ? 0.7 : 0.4 for @a[ 0 .. 3 ];
    delete $_->{ $truths - 1 } for @a;                          # one that never fires
    @a = map { my $f = $_; my @k = sort { $a <=> $b } keys %$f; my $v = round_to('f32', [ @$f{@k} ]);
        +{ map { $k[$_] => $v->[$_] } 0 .. $#k } } @a;
    sae_write('truth.sae', $truth);
    stream_write('true.saes', 'codes', $truths, \@a, batch => 50);
    my $c = cosines($truth->{dec}, $s->{dec});
    my @found = map { (sort { $b <=> $a } @$_)[0] } @$c;
    my (@match, @back);
    for my $i (0 .. M - 1) {
        my ($g) = sort { $c->[$b][$i] <=> $c->[$a][$i] } 0 .. $truths - 1;
        push @match, $g;
        push @back, $c->[$g][$i];
    }
    my %want = (true_features => $truths, mmcs_truth_to_dict => mean(@found), mmcs_dict_to_truth => mean(@back),
        found_share => mean(map { $_ > 0.9 ? 1 : 0 } @found));
    near_hash(summary(qw(--truth truth.sae a.sae)), \%want, TOL, "truth of $truths: alone");
    my (%frequency, %scale);
    for my $g (0 .. $truths - 1) {
        my @on = grep { $_ } map { $_->{$g} // 0 } @a;
        ($frequency{$g}, $scale{$g}) = (scalar @on, @on ? mean(@on) : 0);
    }
    for ([ 'frequency', \%frequency ], [ 'scale', \%scale ]) {
        my ($name, $key) = @$_;
        my @order = sort { $key->{$b} <=> $key->{$a} || $a <=> $b } 0 .. $truths - 1;
        for my $q (0 .. 3) {
            my ($lo, $hi) = (int($q * $truths / 4), int(($q + 1) * $truths / 4));
            $want{ "mmcs_${name}_" . ($q + 1) } = mean(map { $found[$_] } @order[ $lo .. $hi - 1 ]);
        }
    }
    my $features = feature_stats($s, $rows, $codes, \@a, \@match);
    my @found_ones = grep { $back[$_] > 0.9 && $features->[$_]{slope} ne '' } 0 .. M - 1;
    $want{slope_mean} = mean(map { $features->[$_]{slope} } @found_ones);
    $want{slope_origin_mean} = mean(map { $features->[$_]{slope_origin} } @found_ones);
    near_hash(summary(qw(--truth truth.sae --codes true.saes a.sae acts.saes)), \%want, TOL,
        "truth of $truths: with its codes");
    my (undef, $table) = table(qw(sae-stat --features --truth truth.sae --codes true.saes a.sae acts.saes));
    my $bad = 0;
    for my $i (0 .. M - 1) {
        my ($t, $f) = ($table->[$i], $features->[$i]);
        $bad++ if $t->{truth} != $match[$i] || abs($t->{truth_cos} - $back[$i]) > TOL;
        for (qw(slope slope_origin)) {
            $bad++ if ($t->{$_} eq '') != ($f->{$_} eq '');
            $bad++ if $f->{$_} ne '' && abs($t->{$_} - $f->{$_}) > TOL * (1 + abs $f->{$_});
        }
    }
    is($bad, 0, "truth of $truths: the match and the slopes of each feature");
    cmp_ok(scalar(grep { $_->{slope} ne '' } @$table), '>', M / 2, 'there are slopes');
}

# Five true features: all pairings can be tried.
sub check_pairing {
    my ($s) = @_;
    my $truth = sae_random('tied', $s->{d}, 5);
    my $few = { %$s, m => 7, dec => [ @{ $s->{dec} }[ 0 .. 6 ] ], enc => [ @{ $s->{enc} }[ 0 .. 6 ] ],
        b_enc => [ @{ $s->{b_enc} }[ 0 .. 6 ] ] };
    sae_write('few.sae', $few);
    sae_write('truth.sae', $truth);
    my $best = best_pairing(cosines($truth->{dec}, $few->{dec}), 0) / 5;
    near_hash(summary(qw(--truth truth.sae few.sae)), { mmcs_one_to_one => $best }, TOL,
        'one to one: the best of all pairings');
    my $c = cosines($truth->{dec}, $few->{dec});
    my (undef, $pairs) = table(qw(sae-cossim --match truth.sae few.sae));
    my %taken = map { $_->{match} => 1 } @$pairs;
    is(join(' ', scalar @$pairs, scalar keys %taken), '5 5', 'sae-cossim --match: each with one of its own');
    near_rows([ map { [ $_->{cos} ] } @$pairs ], [ map { [ $c->[$_][ $pairs->[$_]{match} ] ] } 0 .. 4 ], TOL, 'its cosine');
    near_hash({ sum => 5 * mean(map { $_->{cos} } @$pairs) }, { sum => 5 * $best }, TOL, 'the best of all pairings');
    (undef, $pairs) = table(qw(sae-cossim --match few.sae truth.sae));
    is(join(' ', scalar @$pairs, scalar(grep { $_->{match} eq '' && $_->{cos} eq '' } @$pairs)), '7 2', 'two are left alone');
    near_hash(summary(qw(--truth few.sae truth.sae)), { mmcs_one_to_one => $best }, TOL, 'and the other way round');
    near_hash(summary(qw(--truth few.sae few.sae)), { map { $_ => 1 }
            qw(mmcs_one_to_one mmcs_truth_to_dict mmcs_dict_to_truth found_share) }, 1e-6, 'a dictionary recovers itself');
    my $narrow = sae_random('tied', $s->{d} - 1, 5);
    sae_write('narrow.sae', $narrow);
    misuse(3, qr/narrow\.sae: rows are \d+ wide/, qw(sae-stat --truth narrow.sae few.sae));
}

# ---- dictionaries that are simple ----

# +-I with ReLU: everything is exact, each feature is half a neuron.
sub check_identity {
    my ($d) = @_;
    my @rows = map { my $i = $_; map { my $sign = $_; [ map { $_ == $i ? $sign : 0 } 0 .. $d - 1 ] } 1, -1 } 0 .. $d - 1;
    sae_write('i.sae', { kind => 'relu', d => $d, m => 2 * $d, dec => \@rows, enc => \@rows, b_enc => [ (0) x (2 * $d) ],
            b_dec => [ (0) x $d ], apply => 1 });
    stream_write('x.saes', 'acts', $d, random_rows(N, $d, 1));
    my $got = summary(qw(i.sae x.saes));
    near_hash($got, { nmse => 0, fvu => 0, mse => 0, variance_explained => 1, cosine => 1, norm_ratio => 1, gamma => 1,
            l0 => $d, dead => 0, max_d_mean => 1, participation_mean => 1, capacity_mean => 0.5, capacity_sum => $d,
            frame_potential => 4 * $d, frame_potential_least => 4 * $d, tied_distance => sqrt $d, linear_error => 1,
            align_mean => 1, denoise_mean => 0, neuron_corr_share => 1 }, 1e-6, "+-I in $d dimensions");
}

for ([ 'tied', 16 ], [ 'relu', 24 ]) {
    my ($kind, $d) = @$_;
    srand $d;
    my $s = sae_random($kind, $d, M);
    $s->{b_enc}[$_] = -100 for 2, 17;                           # two are dead
    $s->{b_enc}[$_] = -1.8 for 20 .. 29;                        # and some are rare
    sae_write('a.sae', $s);
    my $rows = random_rows(N, $d, 1);
    stream_write('acts.saes', 'acts', $d, $rows, batch => 37);
    my $codes = sae_encode($s, $rows);
    check_rows($s, $rows, $codes);
    check_hist($codes);
    check_forms($s, $rows, $codes);
    check_truth($s, $rows, $codes, 30);
    check_truth($s, $rows, $codes, 75);
    check_pairing($s);
}
check_identity(9);
done_testing();
