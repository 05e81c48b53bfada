#!/usr/bin/perl
# grad: act-splice --grad and --attack, sae-encode --attr, sae-topk --logits, against finite differences and sums over a
# forward pass in double precision written independently (tests/ref/ModelRef.pm).
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use ModelRef;
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

# Finite differences in double are good to 1e-8; what is left is the f32 of the tools, relative to the norm of the gradient.
use constant TOL => 1e-4;

srand 4;
my @documents = ([ map { 7 * $_ * $_ % 59 } 1 .. 8 ], [5], [ map { 11 * $_ % 57 } 3 .. 7 ]);
my @ids = map { [ 264, @$_ ] } @documents;          # as contexts, with BOS
file_write('ids.txt', join '', map { "@$_\n" } @documents);

sub dot {
    my ($x, $y) = @_;
    my $sum = 0;
    for my $i (0 .. $#$x) {
        $sum += $x->[$i][$_] * $y->[$i][$_] for 0 .. $#{ $x->[$i] };
    }
    return $sum;
}

sub plus {
    my ($x, $a, $y) = @_;
    return [ map { my $i = $_; [ map { $x->[$i][$_] + $a * $y->[$i][$_] } 0 .. $#{ $x->[$i] } ] } 0 .. $#$x ];
}

# A metric of one context: nll summed over all positions but BOS, a logit or a difference at the last one.
sub metric {
    my ($run, $metric) = @_;
    my ($sign, $name, @tok) = $metric =~ /^(-?)(\w+):?(\d+)?:?(\d+)?/;
    my $last = $run->{logits}[-1];
    my $value = 0;
    if ($name eq 'nll') {
        $value += $_ for @{ $run->{nll} }[ 1 .. $#{ $run->{nll} } ];
    } else {
        $value = $last->[ $tok[0] ] - ($name eq 'diff' ? $last->[ $tok[1] ] : 0);
    }
    return $sign ? -$value : $value;
}

# The rows of a hook in all contexts, BOS with them; and the metric where rows stand there.
sub rows_of { return map { [ map { [@$_] } @{ $_->{ $_[0] } } ] } @{ $_[1] } }

sub metric_with {
    my ($m, $hook, $c, $rows, $metric) = @_;
    return metric(model_forward($m, $ids[$c], { $hook => $rows }), $metric);
}

# Compare the gradient in a stream with finite differences around @rows (contexts, with a BOS row each) along some
# random directions that leave BOS alone, and along the gradient itself.
sub compare {
    my ($name, $m, $hook, $metric, $file, @rows) = @_;
    my $s = eval { stream_read($file)->[0] } or return fail("$name: $@");
    my @left = @{ $s->{x} };
    my ($worst, $size, $error) = (0, 0, 0);
    for my $c (0 .. $#ids) {
        my @grad = splice @left, 0, $#{ $ids[$c] };
        my $own = [ [ (0) x @{ $rows[$c][0] } ], @grad ];
        my $norm = sqrt dot($own, $own);
        for my $k (0, 1) {
            my $v = $k && $norm ? $own : [ [ (0) x @{ $rows[$c][0] } ], @{ random_rows(scalar @grad, scalar @{ $grad[0] }, 1) } ];
            $v = plus($v, 1 / sqrt(dot($v, $v)) - 1, $v);
            my $h = 1e-4;
            my $slope = (metric_with($m, $hook, $c, plus($rows[$c], $h, $v), $metric)
                - metric_with($m, $hook, $c, plus($rows[$c], -$h, $v), $metric)) / (2 * $h);
            $error = abs($slope - dot($own, $v));
            $worst = $error if !($error <= $worst);
        }
        $size = $norm if $norm > $size;
    }
    ok(!@left && $size > 0 && $worst <= TOL * $size, "$name: $hook: $metric")
        or diag("off by $worst, the gradient has norm $size");
}

my @models = (
    [ 'gpt2', qw(--family gpt2 --layers 2) ],
    [ 'gpt2, silu, scaled by layer, untied', qw(--family gpt2 --layers 2 --seed 2 --activation silu --scale-by-layer --no-tied) ],
    [ 'gpt2, relu', qw(--family gpt2 --layers 1 --seed 3 --activation relu --no-scale-attn) ],
    [ 'neox', qw(--family neox --layers 2 --seed 4) ],
    [ 'neox, sequential, all of a head rotated, F16', qw(--family neox --layers 2 --seed 5 --no-parallel --rotary-pct 1 --dtype F16
        --activation quick_gelu --no-bias) ],
);
my ($m, $dir, @runs);

sub use_model {
    my ($name, @args) = @_;
    $dir = 'model';
    runs("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 265 --d-model 16 --heads 2 --ctx 16), @args, $dir);
    $m = model_load($dir);
    @runs = map { model_forward($m, $_) } @ids;
    my @hooks = grep { !/^(nll|logits)$/ } sort keys %{ $runs[0] };
    runs('act-dump', '-q', '-m', $dir, (map { ('-p', $_) } @hooks), '--input', 'ids', '-O', '{hook}.saes', 'ids.txt');
    return @hooks;
}

for (@models) {
    my ($name, @args) = @$_;
    my @metrics = ('nll', 'diff:3:41', '-logit:7');
    for my $hook (use_model($name, @args)) {
        my $metric = $metrics[0];
        push @metrics, shift @metrics;
        runs(qw(act-splice -o grad -p), $hook, '-m', $dir, '--grad', $metric, "$hook.saes");
        compare($name, $m, $hook, $metric, 'grad', rows_of($hook, \@runs));
    }
}

# ---- rows that were edited: the gradient is the one there ----

my ($one, $two) = ('blocks.0.hook_resid_pre', 'blocks.1.mlp.hook_post');
use_model('neox', qw(--family neox --layers 2 --seed 4));
for my $hook ($one, $two) {
    my $s = stream_read("$hook.saes")->[0];
    my $add = random_rows(scalar @{ $s->{x} }, $s->{header}{d}, 0.5);
    my $x = [ map { round_to('f32', $_) } @{ plus($s->{x}, 1, $add) } ];
    stream_write('edited', 'acts', $s->{header}{d}, $x, header => $s->{header}, map { $_ => $s->{$_} } qw(doc ctx pos tok));
    my @rows = rows_of($hook, \@runs);
    my @left = @$x;
    $_ = [ $_->[0], splice @left, 0, $#$_ ] for @rows;
    runs(qw(act-splice -o grad --grad nll -p), $hook, '-m', $dir, 'edited');
    compare('edited rows', $m, $hook, 'nll', 'grad', @rows);
}

# ---- the stream ----

my $acts = stream_read("$one.saes")->[0];
runs(qw(act-splice -o grad --grad nll -p), $one, '-m', $dir, "$one.saes");
my $grad = stream_read('grad')->[0];
is_deeply([ @$grad{qw(doc ctx pos tok)} ], [ @$acts{qw(doc ctx pos tok)} ], 'the gradient has the rows of the stream');
is_deeply([ @{ $grad->{header} }{qw(kind hook dtype)}, $grad->{header}{grad} ], [ 'acts', $one, 'f32', { metric => 'nll' } ],
    'and says what it is of');
runs(qw(act-splice -j 1 -o grad1 --grad nll -p), $one, '-m', $dir, "$one.saes");
runs(qw(act-splice -j 3 -o grad3 --grad nll -p), $one, '-m', $dir, "$one.saes");
ok(file_read('grad1') eq file_read('grad3'), 'threads change nothing');
runs(qw(act-splice -o all --keep-bos --grad nll -p), $one, '-m', $dir, "$one.saes");
near_rows(stream_read('all')->[0]{x}, $grad->{x}, 1e-5, 'what BOS predicts hangs on no later row');
runs(qw(act-splice -o at --grad nll --at 2:3 -p), $one, '-m', $dir, "$one.saes");
my $at = stream_read('at')->[0];
is_deeply($at->{header}{grad}, { metric => 'nll', at => '2:3' }, '--at is in the header');
is(scalar(grep { my $i = $_; $at->{pos}[$i] > 3 && grep { $_ != 0 } @{ $at->{x}[$i] } } 0 .. $#{ $at->{x} }), 0,
    'and no row behind it has a part');
ok(scalar(grep { $_ != 0 } map { @{ $at->{x}[$_] } } grep { $at->{pos}[$_] == 3 } 0 .. $#{ $at->{x} }), 'the rows there do');

# ---- the search for a vector ----

# The mean of the metric over contexts with v added to all rows but BOS.
sub moved {
    my ($hook, $v, $metric, @c) = @_;
    my $sum = 0;
    for my $c (@c) {
        my $rows = $runs[$c]{$hook};
        $sum += metric_with($m, $hook, $c, [ $rows->[0], @{ plus([ @$rows[ 1 .. $#$rows ] ], 1, [ ($v) x $#$rows ]) } ], $metric);
    }
    return $sum / @c;
}

for my $metric ('diff:3:41', '-logit:7') {
    my (undef, $rows) = tsv_read(runs(qw(act-splice -o v.npy --norm 1.5 -p), $one, '-m', $dir, '--attack', $metric, "$one.saes"));
    my %table = map { $_->{statistic} => $_->{value} } @$rows;
    my $npy = npy_read('v.npy');
    my @v = @{ $npy->{data} };
    my $norm = 0;
    $norm += $_**2 for @v;
    ok(abs(sqrt($norm) - 1.5) < 1e-5, "$metric: the vector has its norm");
    my $none = moved($one, [ (0) x @v ], $metric, 0 .. $#ids);
    my $with = moved($one, \@v, $metric, 0 .. $#ids);
    ok(abs($table{before} - $none) < 1e-4 && abs($table{after} - $with) < 1e-4, "$metric: before and after")
        or diag("$table{before} $none $table{after} $with");
    my ($best, $random) = (-1e9);
    for (1 .. 30) {
        $random = random_rows(1, scalar @v, 1);
        my $u = [ map { $_ * 1.5 / sqrt dot($random, $random) } @{ $random->[0] } ];
        my $value = moved($one, $u, $metric, 0 .. $#ids);
        $best = $value if $value > $best;
    }
    cmp_ok($with, '>', $best, "$metric: better than 30 random vectors");
    is($table{rows_moved}, scalar @{ $acts->{x} }, "$metric: all rows are moved");
    is($table{positions_read}, scalar @ids, "$metric: read once a context");
}
runs(qw(act-splice -j 1 -o v1.npy --norm 2 --attack nll -p), $one, '-m', $dir, "$one.saes");
runs(qw(act-splice -j 3 -o v3.npy --norm 2 --attack nll -p), $one, '-m', $dir, "$one.saes");
ok(file_read('v1.npy') eq file_read('v3.npy'), 'threads change nothing');

# ---- attribution ----

my $d = $acts->{header}{d};
my $sae = sae_random('relu', $d, 20);
sae_write('s.sae', $sae);
my $codes = sae_encode($sae, $acts->{x});
runs(qw(sae-encode -o attr --attr grad s.sae), "$one.saes");
my $attr = stream_read('attr')->[0];
my @want = map { my $r = $_; +{ map { $_ => $codes->[$r]{$_} * dot([ $sae->{dec}[$_] ], [ $grad->{x}[$r] ]) } keys %{ $codes->[$r] } } }
    0 .. $#$codes;
near_rows(dense_rows($attr->{codes}, 20), dense_rows(\@want, 20), 1e-5, '--attr: f_i <d_i, gradient>');
is_deeply($attr->{header}{attr}, { metric => 'nll' }, '--attr: the header says of what');

# Taking a feature out, exactly: the order of the features is the same, nearly; for small values the numbers are, too.
sub ranks {
    my @order = sort { $_[$a] <=> $_[$b] } 0 .. $#_;
    my @rank;
    @rank[@order] = 0 .. $#order;
    return @rank;
}

sub without {
    my ($r, $i, $share) = @_;                       # rows of the first context only; row 0 of the stream is its position 1
    my @rows = @{ $runs[0]{$one} };
    my $f = $codes->[$r]{$i} * $share;
    $rows[ $r + 1 ] = [ map { $rows[ $r + 1 ][$_] - $f * $sae->{dec}[$i][$_] } 0 .. $d - 1 ];
    return (metric($runs[0], 'nll') - metric_with($m, $one, 0, \@rows, 'nll')) / $share;
}
my @pairs = map { my $r = $_; map { [ $r, $_ ] } sort { $a <=> $b } keys %{ $codes->[$r] } } 1 .. 5;
@pairs = @pairs[ 0 .. 29 ] if @pairs > 30;
my @exact = map { without(@$_, 0.3) } @pairs;
my @first = map { $want[ $_->[0] ]{ $_->[1] } } @pairs;
my @slope = map { without(@$_, 0.001) } @pairs;
my ($x, $y) = ([ ranks(@exact) ], [ ranks(@first) ]);
my $n = @pairs;
my $gap = 0;
$gap += ($x->[$_] - $y->[$_])**2 for 0 .. $n - 1;
my $rank_correlation = 1 - 6 * $gap / ($n * ($n**2 - 1));
cmp_ok($rank_correlation, '>', 0.9, sprintf 'attribution and ablation order %d features alike (%.3f)', $n, $rank_correlation);
near_rows([ \@first ], [ \@slope ], 1e-3, 'and are the same for a small part of a feature');

# ---- the straight path to the logits ----

# sum over j of x_j W_j, W a map's rows by output.
sub mapped {
    my ($map, $x) = @_;
    return [ map { dot([$_], [$x]) } @{ $map->{rows} } ];
}

sub centred {
    my ($x) = @_;
    my $mean = 0;
    $mean += $_ / @$x for @$x;
    return [ map { $_ - $mean } @$x ];
}

for my $hook ('blocks.1.hook_resid_post', $two, 'blocks.0.attn.hook_z', 'blocks.1.hook_mlp_out', 'ln_final.hook_normalized') {
    my $width = @{ $runs[0]{$hook}[0] };
    my $path = sae_random('tied', $width, 6);
    sae_write('path.sae', $path);
    my (undef, $table) = tsv_read(runs(qw(sae-topk --logits -k 3 -f), '5,0', '-m', $dir, '-p', $hook, 'path.sae'));
    my @expect;
    for my $i (5, 0) {
        my $r = $path->{dec}[$i];
        $r = mapped($m->{layers}[1]{down}, $r) if $hook =~ /post$/ && $hook =~ /mlp/;
        $r = mapped($m->{layers}[0]{o}, $r) if $hook =~ /hook_z/;
        $r = centred($r) if $hook !~ /ln_final/;
        my $effect = centred(mapped($m->{head}, [ map { $r->[$_] * $m->{final}{gain}[$_] } 0 .. $#$r ]));
        my @order = sort { $effect->[$b] <=> $effect->[$a] } 0 .. $#$effect;
        push @expect, map { [ $i, $_ + 1, $order[$_], $effect->[ $order[$_] ], $order[ -1 - $_ ], $effect->[ $order[ -1 - $_ ] ] ] } 0 .. 2;
    }
    my @got = map { [ @$_{qw(feature rank up_tok up_logit down_tok down_logit)} ] } @$table;
    is_deeply([ map { [ @$_[ 0, 1, 2, 4 ] ] } @got ], [ map { [ @$_[ 0, 1, 2, 4 ] ] } @expect ], "--logits: $hook: which tokens");
    near_rows([ map { [ @$_[ 3, 5 ] ] } @got ], [ map { [ @$_[ 3, 5 ] ] } @expect ], 1e-5, "--logits: $hook: how much");
}

# ---- what is refused ----

my @grad = (qw(act-splice -o no -m), $dir);
misuse(2, qr/metric 'nil' is none of nll, logit:TOKEN, diff:TOKEN:TOKEN/, @grad, '-p', $one, qw(--grad nil), "$one.saes");
misuse(2, qr/token 265 is not a number from 0 to 264/, @grad, '-p', $one, qw(--grad diff:59:265), "$one.saes");
misuse(2, qr/'quixotic' is not one token/, @grad, '-p', $one, qw(--grad logit:quixotic), "$one.saes");
misuse(2, qr/'0:x' is not POS, LO:HI or last/, @grad, '-p', $one, qw(--grad nll --at 0:x), "$one.saes");
misuse(3, qr/nll is read nowhere/, @grad, '-p', $one, qw(--grad nll --at 12), "$one.saes");
misuse(2, qr/--attack needs --norm/, @grad, '-p', $one, qw(--attack nll), "$one.saes");
misuse(2, qr/--attack writes its vector to -o FILE/, qw(act-splice -m), $dir, '-p', $one, qw(--attack nll --norm 1), "$one.saes");
misuse(3, qr/grad: gradients, not activations/, @grad, '-p', $one, qw(--grad nll grad));
ok(!-e 'no', 'no output is left behind');
misuse(3, qr/acts of width 64 where acts of width 16/, qw(sae-encode -o no --attr), "$two.saes", 's.sae', "$one.saes");
misuse(3, qr/another hook: blocks\.1\.hook_resid_pre/, qw(sae-encode -o no --attr blocks.1.hook_resid_pre.saes s.sae), "$one.saes");
runs(qw(act-cat --skip 1 -o late), 'grad');
misuse(3, qr/late: row 0 is not the same place/, qw(sae-encode -o no --attr late s.sae), "$one.saes");
runs(qw(act-cat --head 5 -o short), 'grad');
misuse(3, qr/short: ends after 5 rows/, qw(sae-encode -o no --attr short s.sae), "$one.saes");
runs(qw(act-cat --head 5 -o few), "$one.saes");
misuse(3, qr/grad: goes on behind the last row/, qw(sae-encode -o no --attr grad s.sae few));
misuse(2, qr/--attr excludes/, qw(sae-encode -d -o no --attr grad s.sae few));
misuse(3, qr/no straight path from blocks\.0\.attn\.hook_q to the logits/, qw(sae-topk --logits -m), $dir, qw(-p q.0 s.sae));
misuse(3, qr/s\.sae: does not say which hook/, qw(sae-topk --logits -m), $dir, 's.sae');
misuse(3, qr/s\.sae: rows are 16 wide, \Q$two\E of the model has 64/, qw(sae-topk --logits -m), $dir, '-p', $two, 's.sae');
misuse(2, qr/--logits needs -m/, qw(sae-topk --logits s.sae));
misuse(2, qr/-m goes with --logits/, qw(sae-topk -m), $dir, 'attr');

# ---- a context of more rows than attention takes at once (64) ----

@documents = ([ map { 7 * $_ * $_ % 59 } 1 .. 75 ]);
@ids = map { [ 264, @$_ ] } @documents;
file_write('ids.txt', "@{ $documents[0] }\n");
use_model('long', qw(--family neox --layers 1 --seed 6 --ctx 80));
for my $hook (map { "blocks.0.$_" } qw(hook_resid_pre attn.hook_q attn.hook_k attn.hook_v attn.hook_z)) {
    my @rows = rows_of($hook, \@runs);
    near_rows(stream_read("$hook.saes")->[0]{x}, [ @{ $rows[0] }[ 1 .. 75 ] ], 2e-5, "76 rows: $hook");
    runs(qw(act-splice -o grad --grad nll -p), $hook, '-m', $dir, "$hook.saes");
    compare('76 rows', $m, $hook, 'nll', 'grad', @rows);
}
done_testing();
