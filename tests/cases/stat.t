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
    is("@$names", 'feature density count mean max mean_active last skew kurtosis neuron_corr neuron bias dec_norm enc_norm align '
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
    my @json = split /\n/, runs(qw(sae-stat --json a.sae acts.saes));
    is(scalar @json, 1, '--json: one object');
    near_hash(JSON::PP->new->decode($json[0]), row_stats($s, $rows, $codes), TOL, 'its numbers');
    my @half = map { my $f = $_; +{ map { $_ => $f->{$_} / 2 } keys %$f } } @$codes;
    stream_write('half.saes', 'codes', M, \@half, batch => 13);
    near_hash(summary(qw(--coded half.saes a.sae acts.saes)), row_stats($s, $rows, \@half), TOL,
        '--coded: codes from elsewhere');
    my $without = summary(qw(--no-neurons a.sae acts.saes));
    ok(!exists $without->{neuron_corr_mean} && exists $without->{l0}, '--no-neurons');
    my ($names) = table(qw(sae-stat --no-neurons --features a.sae acts.saes));
    ok(!grep({ /neuron/ } @$names), 'in the lines of features too');
    stream_write('short.saes', 'codes', M, [ @half[ 0 .. N - 2 ] ]);
    misuse(3, qr/short\.saes: ends after 219 rows/, qw(sae-stat --coded short.saes a.sae acts.saes));
    stream_write('long.saes', 'codes', M, [ @half, $half[0] ]);
    misuse(3, qr/long\.saes: goes on behind/, qw(sae-stat --coded long.saes a.sae acts.saes));
    stream_write('wide.saes', 'codes', M + 1, \@half);
    misuse(3, qr/wide\.saes: codes of width 41 where codes of width 40/, qw(sae-stat --coded wide.saes a.sae acts.saes));
    stream_write('none.saes', 'acts', $s->{d}, []);
    misuse(3, qr/none\.saes: .*without rows/, qw(sae-stat a.sae none.saes));
    misuse(2, qr/--codes wants --truth/, qw(sae-stat --codes half.saes a.sae acts.saes));
    misuse(2, qr/want activations/, qw(sae-stat --hist 4 a.sae));
    misuse(2, qr/exclude/, qw(sae-stat --hist 4 --features a.sae acts.saes));
}

# ---- codes that go along ----

# Codes of other documents, cut short, of another dictionary.
sub check_along {
    my ($s, $rows, $codes) = @_;
    my @doc = map { int($_ / 10) } 0 .. N - 1;
    my @other = map { $_ + 1 } @doc;
    stream_write('docs.saes', 'acts', $s->{d}, $rows, doc => \@doc);
    stream_write('same.saes', 'codes', M, $codes, doc => \@doc);
    stream_write('other.saes', 'codes', M, $codes, doc => \@other);
    near_hash(summary(qw(--coded same.saes a.sae docs.saes)), row_stats($s, $rows, $codes), TOL, '--coded: the same documents');
    misuse(3, qr/other\.saes: row 0 is not the same place: doc 1, the row it goes with has doc 0/,
        qw(sae-stat --coded other.saes a.sae docs.saes));
    my $whole = file_read('same.saes');
    file_write('cut.saes', substr $whole, 0, rindex $whole, "\x93\xa1E");
    misuse(3, qr/cut\.saes: .*cut short: no end record/, qw(sae-stat --coded cut.saes a.sae docs.saes));
    misuse(3, qr/cut\.saes: .*cut short: no end record/, qw(sae-stat --coded same.saes --truth a.sae --codes cut.saes a.sae docs.saes));
    runs(qw(sae-fit -q --init a.sae -n 200 -o fitted.sae docs.saes));
    runs(qw(sae-fit -q --init a.sae -n 100 -o again.sae docs.saes));
    runs(qw(sae-encode -q -o theirs.saes again.sae docs.saes));
    misuse(3, qr/theirs\.saes: codes of another dictionary/, qw(sae-stat --coded theirs.saes fitted.sae docs.saes));
    misuse(3, qr/theirs\.saes: codes of another dictionary/, qw(sae-stat fitted.sae theirs.saes));
}

# What needs no activations.
sub check_codes {
    my ($s, $rows, $codes) = @_;
    stream_write('codes.saes', 'codes', M, $codes, batch => 19);
    my $with = summary(qw(a.sae acts.saes));
    my $got = summary('codes.saes');
    is(join(' ', sort keys %$got), join(' ', sort qw(d_sae rows l0 l1 dead dead_window below_1e-5 above_1e-2 above_1e-1 skew_mean
                kurtosis_mean)), 'codes alone: the statistics');
    near_hash($got, { map { $_ => $with->{$_} } keys %$got }, TOL, 'codes alone: the numbers');
    $got = summary(qw(a.sae codes.saes));
    ok(!exists $got->{fvu}, 'codes and a dictionary: nothing about x');
    near_hash($got, { map { $_ => $with->{$_} } keys %$got }, TOL, 'but its directions');
    my $mine = feature_stats($s, $rows, $codes);
    my @names = qw(feature density count mean max mean_active last skew kurtosis);
    for my $operands ([ 'codes.saes' ], [ '-', \'codes.saes' ], [ \'codes.saes' ]) {
        my @in = map { ref ? () : $_ } @$operands;
        my ($from) = map { ref ? $$_ : () } @$operands;
        my ($names, $table) = $from ? table('sh', '-c', "exec sae-stat --features @in < $from")
            : table('sae-stat', '--features', @in);
        is("@$names", "@names", "codes alone (@in): names of the columns");
        my $bad = grep { my $i = $_; grep { abs($table->[$i]{$_} - $mine->[$i]{$_}) > TOL * (1 + abs $mine->[$i]{$_}) } @names[ 1, 3 .. 8 ] } 0 .. M - 1;
        is($bad, 0, 'the lines of features');
        is(join(' ', map { $_->{count} } @$table), join(' ', map { my $i = $_; scalar grep { $_->{$i} } @$codes } 0 .. M - 1), 'counts');
    }
    is(runs(qw(sae-stat --hist 4 codes.saes)), runs(qw(sae-stat --hist 4 a.sae acts.saes)), '--hist of codes');
    file_write('names', "# what I think\n\n3\tthe third\n");
    my ($names, $table) = table(qw(sae-stat --features --labels names codes.saes));
    is("$names->[1] $table->[3]{label}|$table->[4]{label}", 'label the third|', '--labels');
    misuse(2, qr/--labels goes with --features/, qw(sae-stat --labels names codes.saes));
    misuse(3, qr/codes\.saes: a stream of codes where acts are wanted/, qw(sae-stat a.sae a.sae codes.saes));
    misuse(3, qr/acts\.saes: a stream of acts where codes are wanted, unless a dictionary/, qw(sae-stat acts.saes));
    misuse(2, qr/--truth and --coded want a dictionary/, qw(sae-stat --truth a.sae codes.saes));
}

# ---- several dictionaries ----

sub check_several {
    my ($s, $rows) = @_;
    sae_write('b.sae', sae_random('relu', $s->{d}, 9));
    my @each = map { summary($_, 'acts.saes') } my @path = qw(b.sae a.sae ./b.sae);
    my ($names, $table) = table('sae-stat', @path, 'acts.saes');
    is(join(' ', sort @$names), join(' ', sort 'sae', keys %{ $each[0] }), 'three dictionaries: a column for each statistic');
    for my $k (0 .. 2) {
        is_deeply($table->[$k], { sae => $path[$k], %{ $each[$k] } }, "the line of $path[$k]: as by itself");
    }
    is(scalar @$table, 3, 'one line each');
    is(runs('sh', '-c', 'cat acts.saes | sae-stat b.sae a.sae ./b.sae -'), runs('sae-stat', @path, 'acts.saes'), 'from a pipe');
    is(runs('sae-stat', '--only', 'fvu,l0,dead', qw(a.sae b.sae acts.saes)), join('', "sae\tfvu\tl0\tdead\n",
        map { "$path[$_]\t$each[$_]{fvu}\t$each[$_]{l0}\t$each[$_]{dead}\n" } 1, 0), '--only: a table of a sweep');
    is(runs('sae-stat', '--only', 'l0,d_sae', qw(a.sae acts.saes)), "statistic\tvalue\nl0\t$each[1]{l0}\nd_sae\t40\n", '--only, of one');
    misuse(2, qr/--only: no statistic 'l2'/, 'sae-stat', '--only', 'l0,l2', qw(a.sae acts.saes));
    my @json = map { JSON::PP->new->decode($_) } split /\n/, runs(qw(sae-stat --json --only l0 a.sae b.sae acts.saes));
    is("@{[ map { $_->{sae} } @json ]}", 'a.sae b.sae', '--json: an object a dictionary');
    my $alone = summary('b.sae');
    ($names, $table) = table(qw(sae-stat a.sae b.sae));
    is_deeply($table->[1], { sae => 'b.sae', %$alone }, 'without rows');
    misuse(2, qr/are of one dictionary/, qw(sae-stat --features a.sae b.sae acts.saes));
    file_write('text', "some words\n");
    misuse(3, qr/text: not a stream/, qw(sae-stat a.sae text));
    misuse(3, qr/text: /, qw(sae-stat text));
    sae_write('narrow.sae', sae_random('tied', $s->{d} - 1, 5));
    misuse(3, qr/rows are \d+ wide, narrow\.sae wants \d+/, qw(sae-stat a.sae narrow.sae acts.saes));
}

# ---- some rows ----

sub check_where {
    my ($s, $rows, $codes) = @_;
    my @pos = map { $_ % 11 } 0 .. N - 1;
    my @text = map { (' a', ' b', "\n")[ $_ * 7 % 3 ] } 0 .. N - 1;
    my @ctx = map { int($_ / 11) } 0 .. N - 1;
    my @c = (pos => \@pos, ctx => \@ctx, text => \@text);
    stream_write('placed.saes', 'acts', $s->{d}, $rows, batch => 17, @c);
    stream_write('placed.codes', 'codes', M, $codes, batch => 23, @c);
    for ([ 'pos=3:5', sub { $pos[ $_[0] ] >= 3 && $pos[ $_[0] ] <= 5 } ], [ 'last', sub { $pos[ $_[0] ] == 10 } ],
        [ '0,2 ctx!=4', sub { $ctx[ $_[0] ] != 4 && ($pos[ $_[0] ] == 0 || $pos[ $_[0] ] == 2) } ],
        [ 'token=\n', sub { $text[ $_[0] ] eq "\n" } ]) {
        my ($words, $is) = @$_;
        my @i = grep { $is->($_) } 0 .. N - 1;
        my $want = row_stats($s, [ @$rows[@i] ], [ @$codes[@i] ]);
        near_hash(summary('--where', $words, qw(a.sae placed.saes)), $want, TOL, "--where '$words'");
        near_hash(summary('--where', $words, qw(--coded placed.codes a.sae placed.saes)), $want, TOL, 'with --coded');
        near_hash(summary('--where', $words, 'placed.codes'), { map { $_ => $want->{$_} } qw(rows l0 l1) }, TOL, 'codes alone');
    }
    is(runs(qw(sae-stat --token), '\n', qw(a.sae placed.saes)), runs(qw(sae-stat --where), 'token=\n', qw(a.sae placed.saes)),
        '--token is --where token=');
    misuse(3, qr/placed\.saes: a stream without rows of those asked for/, qw(sae-stat --where 77 a.sae placed.saes));
    misuse(3, qr/acts\.saes: no column pos/, qw(sae-stat --where 7 a.sae acts.saes));
    misuse(2, qr/--where: 'x' is not POS/, qw(sae-stat --where x a.sae acts.saes));
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
    check_along($s, $rows, $codes);
    check_codes($s, $rows, $codes);
    check_several($s, $rows);
    check_where($s, $rows, $codes);
    check_truth($s, $rows, $codes, 30);
    check_truth($s, $rows, $codes, 75);
    check_pairing($s);
}
check_identity(9);
done_testing();
