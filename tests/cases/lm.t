#!/usr/bin/perl
# lm: act-dump at every hook point of small random checkpoints, against a forward pass in double precision written
# independently (tests/ref/ModelRef.pm).
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use ModelRef;
use RefFiles;
use RefTest;
use Test::More;

# f32 arithmetic is good for about 1e-6 of the largest value; 1e-4 would not tell the two GELUs apart.
use constant TOL => 2e-5;

my @documents = ([ map { 7 * $_ * $_ % 261 } 1 .. 20 ], [5], [ map { 11 * $_ % 256 } 3 .. 10 ], [ (42) x 30 ]);
file_write('ids.txt', join '', map { "@$_\n" } @documents);

# The contexts act-dump makes of the documents: [ document, ids with BOS ].
sub contexts {
    my ($bos, $length) = @_;
    my @contexts;
    for my $doc (0 .. $#documents) {
        my @ids = @{ $documents[$doc] };
        push @contexts, [ $doc, [ $bos // (), splice @ids, 0, $length - (defined $bos ? 1 : 0) ] ] while @ids;
    }
    return @contexts;
}

sub hooks_listed {
    my ($dir) = @_;
    my %width = runs('act-dump', '-q', '-m', $dir, '--info') =~ /^\s*(\S*hook_\S+|logits)\s+(\d+)/mg;
    return \%width;
}

# Compare every hook, and the columns that travel with the rows. $bos: its id or undef, $length of a context,
# $keep: whether BOS rows are in the output, @args: the options that ask for this.
sub compare {
    my ($dir, $model, $name, $bos, $length, $keep, @args) = @_;
    my $width = hooks_listed($dir);
    my @contexts = contexts($bos, $length);
    my @runs = map { model_forward($model, $_->[1]) } @contexts;
    my @want = grep { $_ ne 'nll' } sort keys %{ $runs[0] };
    is_deeply([ sort keys %$width ], \@want, "$name: --info lists the hook points");
    my $skip = defined $bos && !$keep ? 1 : 0;
    runs('act-dump', '-q', '-m', $dir, (map { ('-p', $_) } @want), '--input', 'ids', '-O', '{hook}.saes', @args, 'ids.txt');
    for my $hook (@want) {
        my ($s, @more) = eval { @{ stream_read("$hook.saes") } };
        if (!$s || @more) {
            fail("$name: $hook: " . ($@ || 'more than one section'));
            next;
        }
        my @rows = map { my $r = $_->{$hook}; @$r[ $skip .. $#$r ] } @runs;
        near_rows($s->{x}, \@rows, TOL, "$name: $hook");
        is_deeply([ $s->{header}{hook}, $s->{header}{d}, @$s{qw(doc ctx pos tok)} ],
            [ $hook, $width->{$hook}, columns($skip, @contexts) ], "$name: $hook: header and columns");
        unlink "$hook.saes";
    }
}

# doc, ctx, pos, tok of all rows.
sub columns {
    my ($skip, @contexts) = @_;
    my (@doc, @ctx, @pos, @tok);
    for my $c (0 .. $#contexts) {
        my ($doc, $ids) = @{ $contexts[$c] };
        for ($skip .. $#$ids) {
            push @doc, $doc;
            push @ctx, $c;
            push @pos, $_;
            push @tok, $ids->[$_];
        }
    }
    return \(@doc, @ctx, @pos, @tok);
}

my @models = (
    [ 'gpt2, plain', qw(--family gpt2) ],
    [ 'gpt2, erf GELU, untied',
        qw(--family gpt2 --seed 1 --eps 0.02 --activation gelu --no-tied --d-model 32 --heads 4) ],
    [ 'gpt2, no prefix, buffers, stored tied head',
        qw(--family gpt2 --seed 2 --no-prefix --buffers --head --activation gelu_pytorch_tanh) ],
    [ 'gpt2, F16, shards', qw(--family gpt2 --seed 3 --dtype F16 --shards 3 --layers 3 --activation gelu_fast) ],
    [ 'gpt2, BF16, odd offsets, n_inner', qw(--family gpt2 --seed 4 --dtype BF16 --pad 3 --d-mlp 40 --activation relu) ],
    [ 'gpt2, score scales', qw(--family gpt2 --seed 5 --no-scale-attn --scale-by-layer --activation silu) ],
    [ 'neox, plain', qw(--family neox --d-model 32 --heads 4) ],
    [ 'neox, sequential, half rotary',
        qw(--family neox --seed 1 --eps 0.05 --no-parallel --rotary-pct 0.5 --rotary-base 500) ],
    [ 'neox, rope_parameters, F16, shards, buffers',
        qw(--family neox --seed 2 --rope new --rotary-pct 0.5 --rotary-base 2000 --dtype F16 --shards 2 --buffers) ],
    [ 'neox, tied, no attention bias, full rotary',
        qw(--family neox --seed 3 --tied --no-bias --rotary-pct 1 --activation gelu_new) ],
    [ 'neox, BF16, no prefix, one wide head',
        qw(--family neox --seed 4 --dtype BF16 --no-prefix --heads 1 --layers 1 --activation quick_gelu --vocab 280) ],
    [ 'neox, rotary width cut down to 2', qw(--family neox --seed 5 --d-model 48 --heads 4 --rotary-pct 0.24 --layers 1) ],
);
for (@models) {
    my ($name, @options) = @$_;
    system("$ENV{TOP}/tests/ref/mkmodel", @options, '--ctx', 12, 'model') == 0 or BAIL_OUT('mkmodel');
    my $model = model_load('model');
    compare('model', $model, $name, 264, 12, 1, qw(--bos yes --keep-bos));
    if ($name =~ /plain/) {
        compare('model', $model, "$name, --bos no", undef, 12, 0, qw(--bos no));
        compare('model', $model, "$name, -c 7, BOS not kept", 264, 7, 0, qw(--bos auto -c 7 -b 3));
    }
    system 'rm', '-rf', 'model';
}
done_testing();
