#!/usr/bin/perl
# pipelines: those that put edited rows back into a model run on the bundled one, at a small size, and what their tables must
# show whatever was fitted. Without gnuplot they print the same table and say that the figure is left out.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use Test::More;

delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MODEL TEXT SAE HOOK OUT CACHE ROWS)};
my $tmp = $ENV{TEST_TMP};
file_write('text', substr(file_read("$ENV{TOP}/pipelines/demo/text.txt"), 0, 60000));

# The table of a pipeline as [ { column => value } ], and what it said.
sub pipeline {
    my ($name, @variables) = @_;
    my ($code, $out, $err) = tool('make', '-s', '-C', "$ENV{TOP}/pipelines/$name", "BIN=$ENV{BIN}", "OUT=$tmp/$name",
        "CACHE=$tmp/cache", "TEXT=$tmp/text", qw(ROWS=2000 TOKENS=1000 HELD=6000), @variables);
    ok($code == 0, "$name @variables") or diag("exit code $code: $err");
    is(file_read("$tmp/$name/$name.tsv"), $out, 'the table is kept beside the figure');
    return ((tsv_read($out))[1], $err);
}
my $gnuplot = grep { -x "$_/gnuplot" } split /:/, $ENV{PATH};

my ($table, $said) = pipeline('loss-recovered');
my %by = map { $_->{dictionary} => $_ } @$table;
is(join(' ', sort keys %by), 'identity neurons k32 pca k32 random k32 relu tied topk k32 topk k8 zero', 'all dictionaries');
is($by{identity}{recovered_zero}, 1, 'the identity recovers all');
cmp_ok($by{identity}{kl_mean}, '<', 1e-9, 'and changes no prediction');
is($by{zero}{recovered_zero}, 0, 'nothing recovers nothing');
is(scalar(grep { $_->{ce_clean} != $by{zero}{ce_clean} } @$table), 0, 'all of the same text');
cmp_ok($by{'topk k32'}{kl_mean}, '<', $by{'random k32'}{kl_mean}, 'a fitted dictionary beats random directions');
cmp_ok($by{'topk k32'}{recovered_mean}, '<', 1, 'and is not the identity');
SKIP: {
    skip 'gnuplot is not installed', 2 if !$gnuplot;
    like($said, qr/^# figure: .*loss-recovered\.svg$/m, 'the figure is drawn');
    like(file_read("$tmp/loss-recovered/loss-recovered.svg"), qr/<svg.*topk k32.*<\/svg>/s, 'with the names in it');
}


# Names beside points that lie close together: none on a point or on another.
my @near = ([ 32, .427, 'random k32' ], [ 32, .0927, 'neurons k32' ], [ 32, .0639, 'pca k32' ], [ 33, .062, 'ica k32' ],
    [ 8, .0492, 'topk k8' ], [ 32, .0175, 'topk k32' ], [ 44.4, .0588, 'tied' ], [ 116, .0543, 'relu' ], [ 31, .064, 'a long name' ]);
file_write('near', join '', map { join("\t", @$_) . "\n" } @near);
my $labels = runs(qw(awk -v width=400 -v height=330 -f), "$ENV{TOP}/pipelines/causal/label.awk", 'near');
my %range = map { $_ => [ $labels =~ /^set ${_}range \[(\S+):(\S+)\]$/m ] } qw(x y);
sub share { my ($axis, $v) = @_; my ($lo, $hi) = map { log } @{ $range{$axis} }; return (log($v) - $lo) / ($hi - $lo) }
my @label = map { [ $_->[1] * 400, $_->[2] * 330, $_->[1] * 400 + 7 * length $_->[0] ] }
    map { /^set label "(.*)" at graph (\S+),(\S+) left/ ? [ $1, $2, $3 ] : () } split /\n/, $labels;
is(scalar @label, scalar @near, 'a name for each point');
my @clash;
for my $i (0 .. $#label) {
    my ($left, $middle, $right) = @{ $label[$i] };
    push @clash, "$near[$i][2] leaves the figure" if $left < 0 || $right > 400 || $middle < 6 || $middle > 324;
    push @clash, map { "$near[$i][2] on $near[$_][2]" } grep { $label[$_][0] < $right && $label[$_][2] > $left
        && abs($label[$_][1] - $middle) < 12 } $i + 1 .. $#label;
    push @clash, map { "$near[$i][2] on the point of $_->[2]" } grep { my ($x, $y) = (400 * share(x => $_->[0]), 330 * share(y => $_->[1]));
        $x + 3 > $left && $x - 3 < $right && abs($y - $middle) < 9 } @near;
}
is(join('; ', @clash), '', 'no name covers another or a point');

my ($again, $left_out) = pipeline(qw(loss-recovered GNUPLOT=no-such-program), "SAE=" . (glob "$tmp/cache/*.safetensors")[0]);
like($left_out, qr/^# figure left out: gnuplot/m, 'without gnuplot the figure is left out');
is(scalar @$again, 6, 'and a dictionary may be given, beside the baselines');

file_write('pairs', "# two\nI will\tI have\t be\t been\nit can\tit has\t be\t been\nno\tsuch pair here\t a\t b\n");
($table, $said) = pipeline('patch-curve', "PAIRS=$tmp/pairs", qw(UNITS=10 GREEDY=2));
like($said, qr/^# 2 of 3 pairs/m, 'patch-curve: prompts of different lengths are left out');
my (%first, %norm, %last);
for (@$table) {
    my $key = "$_->{dictionary}, $_->{order}";
    $first{$key} //= $_;
    $last{$key} = $_;
}
is(scalar keys %first, 12, 'four dictionaries in three orders');
is(scalar(grep { $_->{k} || $_->{edit_norm} || abs($_->{kl} - $first{'sae, effect'}{kl}) > 1e-3 } values %first), 0,
    'no unit patched: base, whatever the dictionary');
is(scalar(grep { abs($last{"$_, effect"}{kl} - $last{"$_, attribution"}{kl}) > 1e-4 } 'sae', 'pca', 'lambda 0'), 0,
    'all of them: the same in any order');
cmp_ok($last{'sae, effect'}{kl}, '<', $first{'sae, effect'}{kl}, 'and nearer to the target');
cmp_ok($last{'pca, effect'}{p_answer}, '>', $first{'pca, effect'}{p_answer}, 'whose answer becomes likelier');

($table, $said) = pipeline('ablate-feature');
%by = map { ("$_->{what}$_->{token}" => $_) } @$table;
cmp_ok($by{fires}{n}, '>', 0, 'ablate-feature: it fires');
cmp_ok($by{fires}{change}, '!=', 0, 'its loss changes predictions there');
cmp_ok(abs $by{silent}{change}, '<', 1e-6, 'and elsewhere, behind the last attention, none');
my ($feature) = $said =~ /^# feature (\d+) of /m;
ok(defined $feature, 'the feature is named');
my ($up) = pipeline('ablate-feature', "FEATURE=$feature", "EDIT=scale $feature 1");
cmp_ok(abs +(grep { $_->{what} eq 'fires' } @$up)[0]{change}, '<', 1e-6, 'an edit that changes nothing changes nothing');

($table) = pipeline('pin-feature', "FEATURE=$feature", 'VALUES=off 0 20', 'WRITE=12');
my %share = map { $_->{times} => $_->{raised} } @$table;
is(join(' ', map { $_->{times} } @$table), 'off 0 20', 'pin-feature: a line a value');
is(scalar(my @lines = split /\n/, file_read("$tmp/pin-feature/written.tsv")), 24, 'eight prompts at three values');
cmp_ok($share{20}, '>', $share{0} + 0.1, 'held high, the tokens it raises are written');

($table) = pipeline('feature-tree', qw(CONTEXTS=6 TRIES=10 BRANCHES=1));
is($table->[0]{depth}, 0, 'feature-tree: the target first');
cmp_ok(scalar(grep { $_->{depth} == 1 } @$table), '>', 0, 'and what it comes from');
is(scalar(grep { $_->{depth} && $_->{loss} <= 0 } @$table), 0, 'each branch lowers it');

# Every kind, at a size where only the order of things can be told.
($table, $said) = pipeline('kinds', 'KINDS=random topk pca', qw(K=8 RATIO=2));
is(join('; ', map { $_->{fit} } @$table), '--kind random -x 2 -k 8; --kind topk -x 2 -k 8; --kind pca -k 8', 'kinds: a line each');
is(join(' ', map { $_->{l0} } @$table), '8.0 8.0 8.0', 'with as many features a row as asked for');
cmp_ok($table->[0]{fvu}, '>', 1.2 * $table->[$_]{fvu}, "random directions explain least: $table->[$_]{fit}") for 1, 2;
SKIP: {
    skip 'gnuplot is not installed', 2 if !$gnuplot;
    like($said, qr/^# figure: .*kinds\.svg$/m, 'kinds: the figure is drawn');
    my $svg = file_read("$tmp/kinds/kinds.svg");
    is(scalar(grep { $svg =~ />$_</ } qw(random topk pca)), 3, 'with a name for each kind');
}
($table) = pipeline('kinds', qw(KINDS=identity K=8 GNUPLOT=no-such-program));
is(scalar @$table, 1, 'one kind alone is a table too');

# The algebra behind them, at a hook that everything passes: the rows of one run under the tokens of another.
my @model = ('-m', "$ENV{TOP}/pipelines/demo/model", '-p', 'resid_mid.0');
file_write('base', "And it can be\nShe has said\n");
file_write('target', "And he will go\nThey had done\n");
runs(qw(act-dump --input lines -n 4000 -o fit.saes), @model, "$tmp/text");
runs(qw(sae-fit -q --kind topk -x 4 -k 8 -o topk.sae fit.saes));
for my $run (qw(base target)) {
    runs(qw(act-dump --input lines -o), "$run.saes", @model, $run);
    runs(qw(act-dump --input lines -p logits -o), "$run.logits", @model[ 0, 1 ], $run);
    runs(qw(sae-encode -o), "$run.codes", 'topk.sae', "$run.saes");
    runs(qw(sae-encode --error -o), "$run.error", 'topk.sae', "$run.saes");
}
my %logits = map { $_ => stream_read("$_.logits")->[0]{x} } qw(base target);
runs(qw(sae-patch -o none.saes -e), 'copy all base.codes', '-e', 'error base.error', qw(topk.sae target.saes));
runs(qw(act-splice --logits -o none.logits), @model, 'none.saes');
near_rows(stream_read('none.logits')->[0]{x}, $logits{base}, 1e-5, 'no feature patched: the logits of base');
runs(qw(sae-patch -o all.saes -e), 'copy all target.codes', '-e', 'error target.error', qw(topk.sae none.saes));
runs(qw(act-splice --logits -o all.logits), @model, 'all.saes');
near_rows(stream_read('all.logits')->[0]{x}, $logits{target}, 1e-5, 'all of them and the error: those of the counterfactual');
my @kl = map { $_->{kl} } @{ (tsv_read(scalar runs('act-splice', @model, 'all.saes')))[1] };
cmp_ok(scalar(grep { $_ < 1e-6 } @kl), '==', 8, 'KL below 1e-6');
@kl = map { $_->{kl} } @{ (tsv_read(scalar runs('act-splice', @model, 'none.saes')))[1] };
cmp_ok(scalar(grep { $_ > 1e-3 } @kl), '>', 3, 'though the two runs differ');
runs(qw(act-splice --dump resid_post.0 -o later.saes), @model, 'target.saes');
runs(qw(act-dump --input lines -o want.saes), @model[ 0, 1 ], qw(-p resid_post.0 target));
is(scalar runs(qw(act-cat --to tsv later.saes)), scalar runs(qw(act-cat --to tsv want.saes)),
    '--dump: rows of a later hook, bit for bit those of a pass without anything put in');
done_testing();
