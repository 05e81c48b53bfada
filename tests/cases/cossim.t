#!/usr/bin/perl
# cossim: every table of sae-cossim against the cosines worked out in double precision, and the law of random directions
# against the numbers worked out for it elsewhere.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use List::Util qw(max min sum);
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 9;
my ($d, $m, $n) = (12, 30, 41);
my ($s, $t) = (sae_random('relu', $d, $m), sae_random('relu', $d, $n));
$_ *= 3 for @{ $s->{dec}[5] };                                  # rows of any length: only directions count
sae_write('a.sae', $s);
sae_write('b.sae', $t);
my $within = cosines($s->{dec}, $s->{dec});
my $between = cosines($s->{dec}, $t->{dec});

sub table {
    my ($names, $table) = tsv_read(scalar runs('sae-cossim', @_));
    return @$table;
}
sub near { my ($got, $want, $name) = @_; ok(defined $got && abs($got - $want) < 2e-6, $name) or diag("got $got, want $want") }

sub all_near {
    my ($got, $want, $name) = @_;
    near_rows($got, $want, 2e-6, $name);
}

# ---- ranks, matrix, which directions ----

sub check_ranks {
    my ($cosines, $same, $limit, @args) = @_;
    my $ranks = cosine_ranks($cosines, $same);
    my @table = table('-k', "1,2,$limit", @args);
    all_near([ map { my $r = $_; [ map { $r->{"cos_$_"} } 1, 2, $limit ] } @table ],
        [ map { my $r = $_; [ map { $r->[ $_ - 1 ][0] } 1, 2, $limit ] } @$ranks ], "-k 1,2,$limit @args: cosines");
    is(join(' ', map { "$_->{feature}:$_->{nearest_1}:$_->{nearest_2}" } @table),
        join(' ', map { "$_:$ranks->[$_][0][1]:$ranks->[$_][1][1]" } 0 .. $#$ranks), 'and features');
}
sub transposed { my ($s) = @_; return $s->{enc} }
my $basis = [ map { my $i = $_; [ map { $_ == $i ? 1 : 0 } 0 .. $d - 1 ] } 0 .. $d - 1 ];
check_ranks($within, 1, $m - 1, 'a.sae');
check_ranks($between, 0, $n, 'a.sae', 'b.sae');
check_ranks(cosines($t->{dec}, $s->{dec}), 0, $m, 'b.sae', 'a.sae');
check_ranks(cosines($s->{dec}, $basis), 0, $d, '--neurons', 'a.sae');
check_ranks(cosines($s->{enc}, $s->{enc}), 1, $m - 1, '--encoder', 'a.sae');
check_ranks(cosines($s->{enc}, $t->{enc}), 0, $n, '--encoder', 'a.sae', 'b.sae');
for ([ $within, $m, 'a.sae' ], [ $between, $n, 'a.sae', 'b.sae' ], [ cosines($s->{dec}, $basis), $d, '--neurons', 'a.sae' ]) {
    my ($want, $width, @args) = @$_;
    my @table = table('--matrix', @args);
    all_near([ map { my $r = $_; [ map { $r->{$_} } 0 .. $width - 1 ] } @table ], $want, "--matrix @args");
}
my @self = table(qw(-k 1 a.sae a.sae));
is(join(' ', map { $_->{nearest_1} } @self), join(' ', 0 .. $m - 1), 'A A: each feature is its own nearest');
near($_->{cos_1}, 1, "A A: at 1 (feature $_->{feature})") for @self[ 0, 5, 29 ];
my @json = map { JSON::PP->new->decode($_) } split /\n/, runs(qw(sae-cossim --json -k 2 a.sae));
is(join(' ', map { "$_->{cos_2} $_->{nearest_2}" } @json), join(' ', map { "$_->{cos_2} $_->{nearest_2}" } table(qw(-k 2 a.sae))), '--json');

# ---- some features, a line a rank, labels ----

# Lines "feature rank neighbor" and cosines that --long or -f should give.
sub check_long {
    my ($cosines, $same, $features, $ranks, @args) = @_;
    my $nearest = cosine_ranks($cosines, $same);
    my @want = map { my $f = $_; map { [ $f, $_, @{ $nearest->[$f][ $_ - 1 ] }[ 1, 0 ] ] } @$ranks } @$features;
    my @table = table(@args);
    is(join("\n", map { "@$_{qw(feature rank neighbor)}" } @table), join("\n", map { "@$_[0 .. 2]" } @want), "@args: a line a rank");
    all_near([ map { [ $_->{cosine} ] } @table ], [ map { [ $_->[3] ] } @want ], 'and cosines');
}
check_long($within, 1, [7], [ 1 .. 10 ], qw(-f 7 a.sae));
check_long($within, 1, [ 9, 0, 1, 2, $m - 1 ], [ 1, 2, 3, $m - 1 ], '-f', '9,0-2,1,' . ($m - 1), '-k', '1-3,' . ($m - 1), 'a.sae');
check_long($between, 0, [ 4, 3 ], [ 1 .. $n ], qw(-k all -f), '4,3', 'a.sae', 'b.sae');
check_long($within, 1, [ 0 .. $m - 1 ], [ 2, 1 ], qw(--long -k), '2,1', 'a.sae');
check_long(cosines($s->{dec}, $basis), 0, [5], [ 1 .. 10 ], qw(--neurons -f 5 a.sae));
sae_write('few.sae', sae_random('relu', $d, 3));
is(scalar(table(qw(-f 0 few.sae))), 2, '-f: as many neighbors as there are');
{
    my %same = %$s;                                             # three equal rows: a feature is not its own neighbor
    $same{dec} = [ @{ $s->{dec} } ];
    @{ $same{dec} }[ 3, 8 ] = ($same{dec}[11]) x 2;
    sae_write('same.sae', \%same);
    is(join(' ', map { "$_->{feature}>$_->{neighbor}" } table(qw(-f), '3,8,11', '-k', '1,2', 'same.sae')), '3>8 3>11 8>3 8>11 11>3 11>8',
        'nor where others are equal to it');
}
my @some = table(qw(--matrix -f 7-8 a.sae b.sae));
all_near([ map { my $r = $_; [ map { $r->{$_} } 0 .. $n - 1 ] } @some ], [ @$between[ 7, 8 ] ], '--matrix -f');
is(join(' ', map { $_->{feature} } @some), '7 8', 'and their numbers');
file_write('names', "7\tseven\n0\tzero\n");
my %label = (0 => 'zero', 7 => 'seven');
for my $args ([], ['--long'], [qw(-f 5-8)], ['--matrix'], [qw(--hubs), '-1,1']) {
    my ($names, $table) = tsv_read(scalar runs('sae-cossim', @$args, qw(--labels names a.sae)));
    is("@$names[0, 1]", 'feature label', "--labels @$args");
    is(scalar(grep { $_->{label} ne ($label{ $_->{feature} } // '') } @$table), 0, 'the right ones');
    is(scalar(grep { $_->{neighbor_label} ne ($label{ $_->{neighbor} } // '') } @$table), 0, 'of neighbors too') if grep { $_ eq 'neighbor_label' } @$names;
}
is(scalar(grep { $_->{label} ne ($label{ $_->{feature} } // '') } table(qw(--match --labels names a.sae b.sae))), 0, '--match --labels');
my ($summary) = map { JSON::PP->new->decode($_) } runs(qw(sae-cossim --summary --json a.sae));
is(join("\n", map { "$_ $summary->{$_}" } grep { defined $summary->{$_} } sort keys %$summary), join("\n", map { "$_->{statistic} $_->{value}" }
    sort { $a->{statistic} cmp $b->{statistic} } map { { %$_, value => $_->{measured} } } grep { $_->{measured} ne 'nan' } table(qw(--summary a.sae))),
    '--summary --json: one object');
($summary) = map { JSON::PP->new->decode($_) } runs(qw(sae-cossim --random --json a.sae));
is(join(' ', sort keys %{ $summary->{rms} }), 'law measured random', 'with --random an object a statistic');
misuse(2, qr/-f: '30' is not a feature from 0 to 29/, qw(sae-cossim -f 30 a.sae));
misuse(2, qr/-k: '30' is not a rank from 1 to 29/, qw(sae-cossim -k 30 a.sae));
misuse(2, qr/-f goes with/, qw(sae-cossim -f 3 --summary a.sae));
misuse(2, qr/--long goes with/, qw(sae-cossim --long --matrix a.sae));

# ---- histogram and hubs ----

for ([ $within, 1, 'a.sae' ], [ $between, 0, 'a.sae', 'b.sae' ]) {
    my ($cosines, $same, @args) = @$_;
    my @best = map { $_->[0] } @{ cosine_ranks($cosines, $same) };
    for my $bins (1, 7, 40) {
        my @want = (0) x $bins;
        $want[ min($bins - 1, int(($_->[0] + 1) / 2 * $bins)) ]++ for @best;
        my @table = table('--hist', $bins, @args);
        is(join(' ', map { $_->{count} } @table), "@want", "--hist $bins @args");
        near($table[-1]{hi}, 1, 'up to 1');
        near($table[0]{lo}, -1, 'from -1');
        near(sum(map { $_->{share} } @table), 1, 'shares add up');
    }
    for my $range ('-1,1', '0.4,0.6', '0.5,0.5') {
        my ($lo, $hi) = split /,/, $range;
        my %degree;
        $degree{ $_->[1] }++ for grep { $_->[0] >= $lo && $_->[0] <= $hi } @best;
        is(join(' ', map { "$_->{feature}:$_->{in_degree}" } table('--hubs', $range, @args)),
            join(' ', map { "$_:$degree{$_}" } sort { $degree{$b} <=> $degree{$a} || $a <=> $b } keys %degree), "--hubs $range @args");
    }
}

# ---- the summary ----

sub summary { return { map { $_->{statistic} => $_ } table(@_) } }

sub check_summary {
    my ($cosines, $same, @args) = @_;
    my $got = summary('--summary', '-k', '1,10', @args);
    my $ranks = cosine_ranks($cosines, $same);
    my @all = map { my $i = $_; map { $cosines->[$i][$_] } grep { !$same || $_ != $i } 0 .. $#{ $cosines->[0] } } 0 .. $#$cosines;
    my @best = sort { $a <=> $b } map { $_->[0][0] } @$ranks;
    my @back = map { my $c = $_; max map { $cosines->[$_][$c] } grep { !$same || $_ != $c } 0 .. $#$cosines } 0 .. $#{ $cosines->[0] };
    my $mean = sum(@best) / @best;
    my %want = (rows_a => scalar @$cosines, rows_b => scalar @{ $cosines->[0] }, d_model => $d, mean => sum(@all) / @all,
        rms => sqrt(sum(map { $_**2 } @all) / @all), cos_1_mean => $mean, cos_10_mean => sum(map { $_->[9][0] } @$ranks) / @$ranks,
        cos_1_sd => sqrt(sum(map { ($_ - $mean)**2 } @best) / $#best), cos_1_max => $best[-1], mmcs_a_to_b => $mean,
        mmcs_b_to_a => sum(@back) / @back,
        welch_bound => @$cosines > $d ? sqrt((@$cosines - $d) / ($d * (@$cosines - 1))) : 0,
        map { sprintf('cos_1_q%02d', $_) => $best[ int($_ / 100 * $#best + 0.5) ] } 5, 25, 50, 75, 95);
    near($got->{$_}{measured}, $want{$_}, "--summary @args: $_") for sort keys %want;
    return $got;
}
check_summary($within, 1, 'a.sae');
check_summary($between, 0, 'a.sae', 'b.sae');
check_summary(cosines($s->{dec}, $basis), 0, '--neurons', 'a.sae');

# One to one: against every permutation, on few features; and found again when only their order has changed.
sub permutations { my ($done, @rest) = @_; return [@$done] if !@rest;
    return map { my $i = $_; permutations([ @$done, $rest[$i] ], @rest[ grep { $_ != $i } 0 .. $#rest ]) } 0 .. $#rest }
for my $size ([ 6, 6 ], [ 4, 6 ], [ 6, 3 ]) {
    my ($p, $q) = map { sae_random('relu', 5, $_) } @$size;
    sae_write('p.sae', $p);
    sae_write('q.sae', $q);
    my $c = cosines($p->{dec}, $q->{dec});
    my ($rows, $cols) = @$size;
    my $less = min($rows, $cols);
    my $best = max map { my $order = $_; sum map { $rows <= $cols ? $c->[$_][ $order->[$_] ] : $c->[ $order->[$_] ][$_] } 0 .. $less - 1 }
        permutations([], 0 .. max($rows, $cols) - 1);
    my $got = summary(qw(--summary p.sae q.sae))->{one_to_one_mean};
    near($got->{measured}, $best / $less, "one to one, $rows and $cols");
}
my @order = sort { ($a * 17) % $m <=> ($b * 17) % $m } 0 .. $m - 1;
sae_write('c.sae', { %$s, dec => [ @{ $s->{dec} }[@order] ], enc => [ @{ $s->{enc} }[@order] ], b_enc => [ @{ $s->{b_enc} }[@order] ] });
near(summary(qw(--summary a.sae c.sae))->{$_}{measured}, 1, "in another order: $_ is 1")
    for qw(one_to_one_mean mmcs_a_to_b mmcs_b_to_a);

# ---- random directions ----

# [ d, n, mean of the largest, its sd, quantiles 5 50 95 %, mean of the 10th, of the 100th, Welch's bound ]
for ([ 64, 256, .3457, .0445, .281, .341, .426, .2223, .0352, .1085 ], [ 256, 512, .1890, .0225, .157, .186, .230, .1299, .0539, .0442 ]) {
    my ($width, $rows, $mean, $sd, $q05, $q50, $q95, $tenth, $hundredth, $welch) = @$_;
    sae_write('r.sae', sae_random('tied', $width, $rows));
    my $got = summary(qw(--random -k 1,10,100 r.sae));
    my %law = (mean => 0, rms => 1 / sqrt $width, cos_1_mean => $mean, cos_10_mean => $tenth, cos_100_mean => $hundredth, cos_1_sd => $sd,
        welch_bound => $welch, mmcs_a_to_b => $mean);
    ok(abs($got->{$_}{law} - $law{$_}) < 6e-5, "d $width, n $rows: law of $_") or diag($got->{$_}{law}) for sort keys %law;
    my %quantile = (cos_1_q05 => $q05, cos_1_q50 => $q50, cos_1_q95 => $q95);
    ok(abs($got->{$_}{law} - $quantile{$_}) < 6e-4, "d $width, n $rows: law of $_") or diag($got->{$_}{law}) for sort keys %quantile;
    for my $column ('random', 'measured') {                     # this dictionary is random as well
        my %within = (mean => 0.002, rms => 0.002, cos_1_mean => 5 * $sd / sqrt $rows, cos_10_mean => 0.006, cos_100_mean => 0.006,
            cos_1_sd => $sd / 4, cos_1_q50 => 8 * $sd / sqrt $rows, welch_bound => 1e-9);
        ok(abs($got->{$_}{$column} - $got->{$_}{law}) < $within{$_}, "d $width, n $rows: $column $_ follows the law")
            or diag("$got->{$_}{$column}, law $got->{$_}{law}") for sort keys %within;
    }
}
isnt(runs(qw(sae-cossim --random -s 1 r.sae)), runs(qw(sae-cossim --random -s 2 r.sae)), 'another seed, other random rows');
my $pair = summary(qw(--random a.sae b.sae));
ok($pair->{mmcs_b_to_a}{law} < $pair->{mmcs_a_to_b}{law}, 'of two dictionaries: fewer candidates, smaller largest cosines');

# ---- what does not go together ----

sae_write('w.sae', sae_random('relu', $d + 1, 4));
sae_write('one.sae', sae_random('relu', $d, 1));
misuse(3, qr/w\.sae: rows are 13 wide, a\.sae has 12/, qw(sae-cossim a.sae w.sae));
misuse(3, qr/one\.sae: one feature has no other/, qw(sae-cossim one.sae));
is(scalar(table(qw(one.sae a.sae))), 1, 'but it has of another dictionary');

done_testing();
