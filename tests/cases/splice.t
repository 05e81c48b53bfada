#!/usr/bin/perl
# splice: act-splice on small random checkpoints, against a forward pass in double precision written independently that goes
# on from given rows (tests/ref/ModelRef.pm); and what it refuses.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use List::Util qw(sum max min);
use ModelRef;
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

use constant BOS => 264;
my @documents = ([ map { 7 * $_ * $_ % 261 } 1 .. 20 ], [5], [ map { 11 * $_ % 256 } 3 .. 10 ], [ (42) x 13 ]);
file_write('ids.txt', join '', map { "@$_\n" } @documents);
my @contexts;                           # { doc, ctx, ids with BOS }
for my $doc (0 .. $#documents) {
    my @ids = @{ $documents[$doc] };
    push @contexts, { doc => $doc, ctx => scalar @contexts, ids => [ BOS, splice @ids, 0, 9 ] } while @ids;
}
my @dump = qw(--input ids -c 10);
my %family = (
    gpt2 => [qw(--family gpt2 --vocab 270 --ctx 12)],
    neox => [qw(--family neox --vocab 270 --ctx 12 --d-model 32 --heads 4)],
);
my %model;
for (sort keys %family) {
    system("$ENV{TOP}/tests/ref/mkmodel", @{ $family{$_} }, $_) == 0 or BAIL_OUT('mkmodel');
    $model{$_} = model_load($_);
}

# The table act-splice prints, as hashes.
sub table {
    my @line = split /\n/, runs('act-splice', @_);
    my @name = split /\t/, shift @line;
    return [ map { my %row; @row{@name} = split /\t/, $_, -1; \%row } @line ];
}

sub pairs { return { map { my ($k, $v) = split /\t/, $_, -1; $k => $v } split /\n/, $_[0] } }
sub summary { return pairs(runs('act-splice', '--summary', @_)) }
sub summary_of { return pairs(runs('sh', '-c', $_[0])) }

# Rows at a hook of all contexts, BOS left out, as ModelRef computes them; and a stream of such rows with the header of one
# that act-dump wrote.
my %clean;
sub clean_run { my ($name, $c) = @_; return $clean{$name}[ $c->{ctx} ] //= model_forward($model{$name}, $c->{ids}) }

sub clean_rows {
    my ($name, $hook) = @_;
    return [ map { my $r = clean_run($name, $_)->{$hook}; [ @$r[ 1 .. $#$r ] ] } @contexts ];
}

sub write_rows {
    my ($path, $name, $hook, $rows, %change) = @_;
    runs('act-dump', '-q', '-m', $name, '-p', $hook, @dump, '-o', 'head.saes', 'ids.txt');
    my $s = stream_read('head.saes')->[0];
    my (@x, %column);
    for my $c (@contexts) {
        push @x, @{ $rows->[ $c->{ctx} ] };
        for my $pos (1 .. $#{ $c->{ids} }) {
            push @{ $column{doc} }, $c->{doc};
            push @{ $column{ctx} }, $c->{ctx};
            push @{ $column{pos} }, $pos;
            push @{ $column{tok} }, $c->{ids}[$pos];
        }
    }
    my $keep = delete $change{keep} // sub { 1 };
    my @at = grep { $keep->(map { $_->[0] } [ $column{ctx}[$_] ], [ $column{pos}[$_] ]) } 0 .. $#x;
    my %drop = map { $_ => 1 } @{ delete $change{drop} // [] };
    $_ = [ @$_[@at] ] for values %column;
    delete $column{$_} for keys %drop;
    stream_write($path, 'acts', scalar @{ $x[0] }, [ @x[@at] ], %column, batch => 7, header => { %{ $s->{header} }, %change });
}

sub noisy {
    my ($rows, $sigma) = @_;
    return [ map { [ map { round_to('f32', [ map { $_ + $sigma * gauss() } @$_ ]) } @$_ ] } @$rows ];
}

sub lse {
    my $top = max @_;
    return $top + log(sum(map { exp($_ - $top) } @_));
}

sub kl {
    my ($a, $b) = @_;
    my ($la, $lb) = (lse(@$a), lse(@$b));
    return sum(map { exp($a->[$_] - $la) * ($a->[$_] - $la - $b->[$_] + $lb) } 0 .. $#$a);
}

# What splicing rows does, token by token: { ctx, pos, clean, spliced (both undef for the last), kl, logits, was }. $splice:
# for a context, the hash of hook => rows with BOS that ModelRef takes.
sub expected {
    my ($name, $splice, $keep_bos) = @_;
    my @want;
    for my $c (@contexts) {
        my $clean = clean_run($name, $c);
        my $run = model_forward($model{$name}, $c->{ids}, $splice->($c, $clean));
        push @want, map { { ctx => $c->{ctx}, doc => $c->{doc}, pos => $_, clean => $clean->{nll}[$_], spliced => $run->{nll}[$_],
            kl => kl($clean->{logits}[$_], $run->{logits}[$_]), logits => $run->{logits}[$_], was => $clean->{logits}[$_] } }
            ($keep_bos ? 0 : 1) .. $#{ $c->{ids} };
    }
    return \@want;
}

# The row of BOS is the model's own.
sub given {
    my ($rows, $hook) = @_;
    return sub { my ($c, $clean) = @_; return { $hook => [ $clean->{$hook}[0], @{ $rows->[ $c->{ctx} ] } ] } };
}

sub compare {
    my ($got, $want, $name) = @_;
    is(join(' ', map { "$_->{doc}.$_->{ctx}.$_->{pos}" } @$got), join(' ', map { "$_->{doc}.$_->{ctx}.$_->{pos}" } @$want),
        "$name: a line for each token");
    is(join(' ', map { length $_->{nll_clean} ? 1 : 0 } @$got), join(' ', map { defined $_->{clean} ? 1 : 0 } @$want),
        "$name: nll where a next token is known");
    my @pairs = map { [ $got->[$_], $want->[$_] ] } 0 .. min($#$got, $#$want);
    my @known = grep { defined $_->[1]{clean} } @pairs;
    cmp_ok(max(map { abs($_->[0]{nll_clean} - $_->[1]{clean}) } @known), '<', 2e-5, "$name: nll clean");
    cmp_ok(max(map { abs($_->[0]{nll_spliced} - $_->[1]{spliced}) } @known), '<', 2e-5, "$name: nll spliced");
    cmp_ok(max(map { abs($_->[0]{kl} - $_->[1]{kl}) / ($_->[1]{kl} + 1e-2) } @pairs), '<', 1e-4, "$name: KL");
}

# ---- every hook: unedited rows change nothing, others what they change in the reference ----

srand 1;
for my $name (sort keys %model) {
    for my $hook (grep { $_ ne 'nll' } sort keys %{ model_forward($model{$name}, [1]) }) {
        runs('act-dump', '-q', '-m', $name, '-p', $hook, @dump, '-o', 'a.saes', 'ids.txt');
        my $same = table('-m', $name, '-p', $hook, 'a.saes');
        is((join ' ', grep { $_->{kl} ne '0' || $_->{nll_clean} ne $_->{nll_spliced} } @$same), '',
            "$name, $hook: unedited rows leave every bit");
        my $rows = noisy(clean_rows($name, $hook), 0.3);
        write_rows('b.saes', $name, $hook, $rows);
        compare(table('-m', $name, '-p', $hook, 'b.saes'), expected($name, given($rows, $hook)), "$name, $hook");
    }
}

# ---- several hooks, BOS, what is left out, changed tokens, logits ----

my ($h1, $h2) = ('blocks.0.mlp.hook_post', 'blocks.1.attn.hook_v');
my ($r1, $r2) = map { noisy(clean_rows('neox', $_), 0.4) } $h1, $h2;
write_rows('one.saes', 'neox', $h1, $r1);
write_rows('two.saes', 'neox', $h2, $r2);
my $both = expected('neox', sub { return { %{ given($r1, $h1)->(@_) }, %{ given($r2, $h2)->(@_) } } });
compare(table(qw(-m neox -p), "$h2=two.saes", '-p', "$h1=one.saes"), $both, 'two hooks');
compare(table(qw(-m neox -p), "$h2=two.saes", '-p', $h1, 'one.saes'), $both, 'one of them from the operand');

my $want = expected('neox', given($r1, $h1));
compare(table(qw(-m neox --keep-bos -p), $h1, 'one.saes'), expected('neox', given($r1, $h1), 1), '--keep-bos');
compare(table(qw(-m neox -p), $h1, '--skip-pos', '2,4:6,11', 'one.saes'),
    [ grep { $_->{pos} != 2 && ($_->{pos} < 4 || $_->{pos} > 6) } @$want ], '--skip-pos');
runs(qw(act-dump -q -m neox --keep-bos -p), $h1, @dump, qw(-o bos.saes ids.txt));
is(scalar @{ table(qw(-m neox -p), $h1, 'bos.saes') }, scalar @$want, 'BOS is left out where its row is there, too');

my $moved = table(qw(-m neox -k 4 -p), $h1, 'one.saes');
my $wrong = 0;
for my $i (0 .. $#$want) {
    my %by = map { $_ => $want->[$i]{logits}[$_] - $want->[$i]{was}[$_] } 0 .. 269;
    for ([ 'up', sort { $by{$b} <=> $by{$a} } keys %by ], [ 'down', sort { $by{$a} <=> $by{$b} } keys %by ]) {
        my ($column, @order) = @$_;
        my @got = map { [ split /:/, $_, 3 ] } split / /, $moved->[$i]{$column};
        $wrong += @got != 4;
        $wrong += abs($got[$_][1] - $by{ $order[$_] }) > 1e-4 || abs($by{ $got[$_][0] } - $got[$_][1]) > 1e-4 for 0 .. $#got;
    }
}
is($wrong, 0, '-k: the tokens whose logits moved most, and how far');
like($moved->[0]{up} . $moved->[0]{down}, qr/(?:^| )\d+:[+-][\d.]+(?:e-?\d+)?:\S+/, 'with their text');
like(join(' ', map { $_->{up} } @$moved), qr/:\\x20/, 'in which a space is \x20');

# The most likely next tokens, of the clean pass and of the other.
my $likely = table(qw(-m neox --predictions 5 -k 1 -p), $h1, 'one.saes');
$wrong = 0;
for my $i (0 .. $#$want) {
    for ([ 'next_clean', 'was' ], [ 'next_spliced', 'logits' ]) {
        my ($column, $of) = @$_;
        my @x = @{ $want->[$i]{$of} };
        my $all = sum(map { exp } @x);
        my @order = sort { $x[$b] <=> $x[$a] } 0 .. $#x;
        my @got = map { [ split /:/, $_, 3 ] } split / /, $likely->[$i]{$column};
        $wrong += @got != 5;
        $wrong += abs($got[$_][1] - exp($x[ $order[$_] ]) / $all) > 1e-4 || abs(exp($x[ $got[$_][0] ]) / $all - $got[$_][1]) > 1e-4
            for 0 .. $#got;
    }
}
is($wrong, 0, '--predictions: the most likely next tokens and their probabilities, clean and spliced');
is(join(' ', sort keys %{ $likely->[0] }), 'ctx doc down kl next_clean next_spliced nll_clean nll_spliced pos text tok up', 'beside -k');
my @objects = map { JSON::PP->new->decode($_) } split /\n/, runs(qw(act-splice -m neox --json --predictions 300 -p), $h1, 'one.saes');
is(join(' ', map { scalar @{ $_->{next_clean} } } @objects[ 0, 1 ]), '270 270', '--json: a list, of no more than there are');
{
    my ($same, $n) = (0, 0);
    for (@objects) {
        my ($first, $tok, $p) = ($_->{next_clean}[0], split /:/, $likely->[ $n++ ]{next_clean});
        $same++ if join(' ', sort keys %$first) eq 'p text tok' && $first->{tok} == $tok && abs($first->{p} - $p) < 1e-5 * $p;
    }
    ok($n > 10 && $same == $n, 'of objects, whose numbers are those of the table');
    my ($object) = map { JSON::PP->new->decode($_) } split /\n/, runs(qw(act-splice -m neox --json -k 2 -p), $h1, 'one.saes');
    is(join(' ', map { "$_->{tok}:" . sprintf '%+.6g', $_->{change} } @{ $object->{up} }),
        join(' ', map { join ':', (split /:/)[ 0, 1 ] } (split / /, $moved->[0]{up})[ 0, 1 ]), '-k too');
}
misuse(2, qr/--predictions adds columns .* not with --summary/, qw(act-splice -m neox --summary --predictions 3 -p), $h1, 'one.saes');

runs(qw(act-splice -m neox --logits -o l.saes -p), $h1, 'one.saes');
my $l = stream_read('l.saes')->[0];
near_rows($l->{x}, [ map { $_->{logits} } @$want ], 2e-5, '--logits');
is_deeply([ @$l{qw(doc ctx pos)} ], [ map { my $k = $_; [ map { $_->{$k} } @$want ] } qw(doc ctx pos) ], 'with their columns');
is(join(' ', @{ $l->{header} }{qw(kind d hook layer)}), 'acts 270 logits 2', 'and a header');
is(scalar @{ $l->{header}{history} }, 2, 'that knows where they come from');
runs(qw(act-dump -q -m neox -p logits), @dump, qw(-o d.saes ids.txt));
runs(qw(act-dump -q -m neox -p), $h1, @dump, qw(-o a.saes ids.txt));
runs(qw(act-splice -m neox --logits -o l.saes -p), $h1, 'a.saes');
is_deeply(stream_read('l.saes')->[0]{x}, stream_read('d.saes')->[0]{x}, "of unedited rows: act-dump's, bit for bit");

# Text columns of one's own go along; where the stream has no row there is nothing.
{
    my $from = stream_read('a.saes')->[0];
    my @label = map {; "doc $from->{doc}[$_] token $_" } 0 .. $from->{rows} - 1;
    my %at = map {; "$from->{ctx}[$_] $from->{pos}[$_]" => $_ } 0 .. $#label;
    my @kept = grep { $from->{pos}[$_] != 4 } 0 .. $#label;
    stream_write('f.saes', 'acts', $from->{header}{d}, [ @{ $from->{x} }[@kept] ], batch => 5, header => $from->{header},
        fields => { label => [ @label[@kept] ], note => [ map { '' } @kept ] }, map { $_ => [ @{ $from->{$_} }[@kept] ] } qw(doc ctx pos tok));
    for (['--logits'], [qw(--dump blocks.1.hook_resid_post)], [qw(--grad nll)]) {
        runs(qw(act-splice -m neox --ids ids.txt -o fields.saes), @$_, '-p', $h1, 'f.saes');
        my $s = stream_read('fields.saes')->[0];
        my @want = map { $s->{pos}[$_] == 4 ? '' : $label[ $at{"$s->{ctx}[$_] $s->{pos}[$_]"} ] } 0 .. $s->{rows} - 1;
        is_deeply($s->{fields}, { label => \@want, note => [ map { '' } @want ] }, "@$_: with their text columns");
        cmp_ok(scalar(grep { $_ eq '' } @want), $_->[0] eq '--grad' ? '==' : '>', 0, 'where there is no row, none');
    }
}

# ---- the summary ----

sub mean { return sum(@_) / @_ }

sub constant {
    my ($row, $hook) = @_;
    return sub { my ($c, $clean) = @_; return { $hook => [ $clean->{$hook}[0], map { $row } 1 .. $#{ $c->{ids} } ] } };
}

sub check_summary {
    my ($name, $got, $hook, $want, $mean_row) = @_;
    my %run = (spliced => $want, zero => expected('neox', constant([ (0) x @$mean_row ], $hook)),
        mean => expected('neox', constant($mean_row, $hook)));
    my %ce = (clean => mean(map { $_->{clean} // () } @$want), map { $_ => mean(map { $_->{spliced} // () } @{ $run{$_} }) } keys %run);
    my %kl = map { my $r = $_; $r => [ map { $_->{kl} } @{ $run{$r} } ] } keys %run;
    my $top = sub { my @x = @{ $_[0] }; my $m = max(@x); return (grep { $x[$_] == $m } 0 .. $#x)[0] };
    my @kl = sort { $a <=> $b } @{ $kl{spliced} };
    my %value = (rows => scalar @$want, predicted => scalar(grep { defined $_->{clean} } @$want), excluded_rows => scalar @contexts,
        (map { ("ce_$_" => $ce{$_}) } keys %ce), perplexity_clean => exp($ce{clean}), perplexity_spliced => exp($ce{spliced}),
        (map { ("recovered_$_" => ($ce{$_} - $ce{spliced}) / ($ce{$_} - $ce{clean})) } qw(zero mean)),
        kl_mean => mean(@kl), kl_zero => mean(@{ $kl{zero} }), kl_mean_ablated => mean(@{ $kl{mean} }),
        kl_q50 => $kl[ int(0.5 * $#kl) ], kl_q95 => $kl[ int(0.95 * $#kl) ],
        changed => mean(map { $top->($_->{logits}) != $top->($_->{was}) ? 1 : 0 } @$want));
    is($got->{excluded}, 'bos', "$name: says what is left out");
    for (sort keys %value) {
        my $tol = /kl_q/ ? 5e-4 : 5e-5;
        cmp_ok(abs($got->{$_} - $value{$_}), '<=', $tol * (abs($value{$_}) + 0.1), "$name: $_")
            or diag("got $got->{$_}, want $value{$_}");
    }
}

my @all = map { @$_ } @{ clean_rows('neox', $h1) };
my $centre = [ map { my $j = $_; mean(map { $_->[$j] } @all) } 0 .. $#{ $all[0] } ];
check_summary('--summary', summary(qw(-m neox -p), $h1, 'one.saes'), $h1, $want, $centre);
npy_write('zero.npy', '<f4', [ scalar @$centre ], [ (0) x @$centre ]);
my $zeros = summary(qw(-m neox --mean zero.npy -p), $h1, 'one.saes');
is("$zeros->{ce_mean} $zeros->{kl_mean_ablated}", "$zeros->{ce_zero} $zeros->{kl_zero}", '--mean FILE.npy');
misuse(3, qr/zero\.npy: a matrix of 1 by \d+ has no rows of width 32/, qw(act-splice -m neox --summary --mean zero.npy -p), $h2, 'two.saes');
npy_write('nan.npy', '<f4', [ scalar @$centre ], [ 'nan', (1) x $#$centre ]);
misuse(3, qr/nan\.npy: holds a value that is not finite/, qw(act-splice -m neox --summary --mean nan.npy -p), $h1, 'one.saes');
npy_write('pair.npy', '<f4', [ 2, scalar @$centre ], [ (1) x (2 * @$centre) ]);
misuse(3, qr/pair\.npy: 2 vectors where one is wanted/, qw(act-splice -m neox --summary --mean pair.npy -p), $h1, 'one.saes');
check_summary('--summary --mean STREAM', summary(qw(-m neox --mean a.saes -p), $h1, 'one.saes'), $h1, $want, $centre);
check_summary('--mean of a pipe', summary_of("cat a.saes | act-splice --summary -m neox --mean /dev/stdin -p $h1 one.saes"), $h1,
    $want, $centre);
my ($code, $out, $err) = tool('sh', '-c', "act-splice -m neox --summary -p $h1 < one.saes");
ok($code == 0 && $err =~ /\A[^\n]*note: no ablation to the mean[^\n]*\n\z/ && $out =~ /^ce_mean\t\nrecovered_zero\t\S+\nrecovered_mean\t\n/m,
    'a pipe has no mean unless one is given');
is(summary(qw(-m neox --skip-pos 3:4 -p), $h1, 'one.saes')->{excluded}, 'bos,3:4', 'what is left out, by position');
is(summary(qw(-m neox --keep-bos -p), $h1, 'one.saes')->{excluded}, 'none', 'nothing left out');
my $json = runs(qw(act-splice -m neox --summary --json -p), $h1, 'one.saes');
is(scalar(keys %{ JSON::PP::decode_json($json) }), 18, '--json: one object');

# An identity dictionary recovers everything, zeros nothing; a reconstruction with its stored error is what it was.
my $h3 = 'blocks.0.hook_resid_post';
runs(qw(act-dump -q -m neox -p), $h3, @dump, qw(-o x.saes ids.txt));
tool(qw(sae-fit --kind identity -o id.safetensors x.saes));
tool('sh', '-c', 'sae-encode id.safetensors x.saes | sae-encode -d -o back.saes id.safetensors');
my $s = summary(qw(-m neox -p), $h3, 'back.saes');
is(sprintf('%.4f %.4f', @$s{qw(recovered_zero recovered_mean)}), '1.0000 1.0000', 'an identity dictionary: all is recovered');
cmp_ok($s->{kl_mean}, '<', 1e-9, 'and KL is 0');
tool(qw(sae-patch --replace -o none.saes -e), 'zero all', qw(id.safetensors x.saes));
is(sprintf('%.4f', summary(qw(-m neox -p), $h3, 'none.saes')->{recovered_zero}), '0.0000', 'zeros: nothing is');
sae_write('s.safetensors', sae_random('relu', 32, 50));
runs(qw(sae-encode --error -o e.saes s.safetensors x.saes));
runs(qw(sae-patch --replace -o whole.saes -e), 'error e.saes', qw(s.safetensors x.saes));
cmp_ok(summary(qw(-m neox -p), $h3, 'whole.saes')->{kl_mean}, '<', 1e-9, 'reconstruction plus stored error: nothing changes');

# ---- order, threads, sections, standard input ----

my ($first) = runs(qw(act-splice -m neox -j1 -k 3 -p), $h1, 'one.saes');
is(runs(qw(act-splice -m neox -j2 -k 3 -p), $h1, 'one.saes'), $first, '-j changes no byte');
is(runs(qw(act-splice -m neox -j2 -b 1 --summary -p), $h1, 'one.saes'), runs(qw(act-splice -m neox -j1 -b 1 --summary -p), $h1, 'one.saes'),
    'nor of the summary');
is(runs('sh', '-c', "cat one.saes | act-splice -m neox -k 3 -p $h1 -"), $first, 'standard input');
file_write('twice.saes', file_read('one.saes') x 2);
my @lines = split /^/, $first;
is(runs(qw(act-splice -m neox -k 3 -p), $h1, 'twice.saes'), join('', @lines, @lines[ 1 .. $#lines ]), 'two sections');
runs(qw(act-splice -m neox --logits -o l.saes -p), $h1, 'twice.saes');
is(scalar @{ stream_read('l.saes') }, 2, 'logits of two sections are two sections');

# ---- positions without a row ----

my $gap = sub { my ($ctx, $pos) = @_; return !($ctx == 0 && $pos == 4) && !($ctx == 2 && $pos > 1) && !($ctx == 4 && $pos < 3) };
write_rows('gap.saes', 'neox', $h1, $r1, keep => $gap);
misuse(3, qr/\Aact-splice: gap\.saes: context 0 has no token at position 4: --ids must say which it is/,
    qw(act-splice -m neox -p), $h1, 'gap.saes');
my $holes = sub {
    my ($c, $clean) = @_;
    my @rows = @{ $clean->{$h1} };
    for (1 .. $#rows) {
        $rows[$_] = $r1->[ $c->{ctx} ][ $_ - 1 ] if $gap->($c->{ctx}, $_);
    }
    return { $h1 => \@rows };
};
compare(table(qw(-m neox --ids ids.txt -p), $h1, 'gap.saes'), expected('neox', $holes), '--ids');
write_rows('notok.saes', 'neox', $h1, $r1, drop => ['tok']);
misuse(3, qr/notok\.saes: context 0 has no token at position 1: --ids/, qw(act-splice -m neox -p), $h1, 'notok.saes');
compare(table(qw(-m neox --ids ids.txt -p), $h1, 'notok.saes'), $want, '--ids for a stream without tokens');
file_write('other.txt', join '', map { "@{[ map { $_ + 1 } @$_ ]}\n" } @documents);
misuse(3, qr/other\.txt: context 0, position 1 is token 8, in gap\.saes it is 7: not the same text/,
    qw(act-splice -m neox --ids other.txt -p), $h1, 'gap.saes');
file_write('short.txt', "@{$documents[0]}\n");
misuse(3, qr/short\.txt: context 3 is not in it/, qw(act-splice -m neox --ids short.txt -p), $h1, 'gap.saes');
# What the stream ends before needs nothing.
runs(qw(act-cat --head 14 -o cut.saes one.saes));
is(scalar @{ table(qw(-m neox -p), $h1, 'cut.saes') }, 14, 'a stream may end within a context');

# ---- what is refused ----

sub refused { my ($regex, @args) = @_; misuse(3, qr/\Aact-splice: $regex/, 'act-splice', @args) }

refused(qr/one\.saes: rows of another model \(neox\)/, qw(-m gpt2 -p), $h1, 'one.saes');
refused(qr/one\.saes: rows of blocks\.0\.mlp\.hook_post, to be put in at blocks\.0\.mlp\.hook_pre/, qw(-m neox -p blocks.0.mlp.hook_pre one.saes));
my $tok = stream_read('one.saes')->[0]{header}{tok};
for ([ { sha => 'f' x 64 }, 'tokens of another tokenizer' ], [ { vocab => 271 }, "a vocabulary of 271 tokens, the model's has 270" ],
    [ { ctx => 13 }, 'contexts of 13 tokens, the model has room for 12' ], [ { bos => 270 }, 'contexts begin with token 270' ]) {
    my ($change, $sentence) = @$_;
    write_rows('bad.saes', 'neox', $h1, $r1, tok => { %$tok, %$change });
    refused(qr/bad\.saes: \Q$sentence\E/, qw(-m neox -p), $h1, 'bad.saes');
}
write_rows('bad.saes', 'neox', $h1, $r1, proc => { scale => 2 });
refused(qr/bad\.saes: rows scaled by 2 /, qw(-m neox -p), $h1, 'bad.saes');
write_rows('bad.saes', 'neox', $h1, $r1, proc => { shuffled => 2 });
refused(qr/bad\.saes: shuffled rows/, qw(-m neox -p), $h1, 'bad.saes');
refused(qr/codes\.saes: a stream of codes/, qw(-m neox -p), $h3, 'codes.saes')
    if defined runs(qw(sae-encode -o codes.saes id.safetensors x.saes));
write_rows('bad.saes', 'neox', $h1, $r1);
{
    # The same rows with two of them exchanged, and with two contexts exchanged.
    my $t = stream_read('bad.saes')->[0];
    my $order = sub {
        my @at = @_;
        stream_write('bad.saes', 'acts', $t->{header}{d}, [ @{ $t->{x} }[@at] ], header => $t->{header},
            map { $_ => [ @{ $t->{$_} }[@at] ] } qw(doc ctx pos tok));
    };
    my $last = $#{ $t->{x} };
    $order->(0, 2, 1, 3 .. $last);
    refused(qr/bad\.saes: record 1: context 0, position 2 comes behind position 3: rows are out of order/, qw(-m neox -p), $h1, 'bad.saes');
    $order->(9 .. 17, 0 .. 8, 18 .. $last);
    refused(qr/bad\.saes: record 1: context 0, position 1 comes behind context 1: rows are out of order/, qw(-m neox -p), $h1, 'bad.saes');
    $order->(grep { $t->{ctx}[$_] != 2 } 0 .. $last);
    refused(qr/bad\.saes: no rows of context 2, which two\.saes has/, qw(-m neox -p), "$h2=two.saes", '-p', "$h1=bad.saes");
    $order->(grep { $t->{ctx}[$_] < 3 } 0 .. $last);
    refused(qr/two\.saes: has rows behind the last context of bad\.saes/, qw(-m neox -p), "$h1=bad.saes", '-p', "$h2=two.saes");
    $t->{tok}[5] = 270;
    $order->(0 .. $last);
    refused(qr/bad\.saes: record 1: token 270, the model has 270/, qw(-m neox -p), $h1, 'bad.saes');
    $t->{tok}[5] = 3;
    $order->(0 .. $last);
    refused(qr/two\.saes: record 1: context 0, position 6 is token \d+, elsewhere it is \d+: not the same text/, qw(-m neox -p), "$h1=bad.saes", '-p', "$h2=two.saes");
    $t->{tok}[5] = $documents[0][5];
    $t->{pos}[8] = 12;
    $order->(0 .. $last);
    refused(qr/bad\.saes: record 1: position 12, the model's contexts end at 11/, qw(-m neox -p), $h1, 'bad.saes');
}
write_rows('bad.saes', 'neox', $h1, $r1, drop => ['pos']);
refused(qr/bad\.saes: no column pos/, qw(-m neox -p), $h1, 'bad.saes');
file_write('bad.saes', substr(file_read('one.saes'), 0, -40));
refused(qr/bad\.saes: /, qw(-m neox -p), $h1, 'bad.saes');
misuse(2, qr/-p HOOK is missing/, qw(act-splice -m neox one.saes));
misuse(2, qr/-m DIR is missing/, qw(act-splice -p), $h1, 'one.saes');
misuse(2, qr/every -p names a file/, qw(act-splice -m neox -p), "$h1=one.saes", 'two.saes');
misuse(2, qr/only one hook can take its rows from/, qw(act-splice -m neox -p), $h1, '-p', $h2, 'two.saes');
misuse(2, qr/is given twice/, qw(act-splice -m neox -p), "$h1=one.saes", '-p', "$h1=one.saes");
misuse(2, qr/exclude each other/, qw(act-splice -m neox --summary --logits -p), $h1, 'one.saes');
misuse(2, qr/--skip-pos: '3;4'/, qw(act-splice -m neox --skip-pos 3;4 -p), $h1, 'one.saes');
misuse(2, qr/no hook point nowhere/, qw(act-splice -m neox -p nowhere one.saes));

# ---- writing on ----

file_write('prompts.txt', "1 2 3\n40 41\n7 7 7 7 7\n");
my @prompts = ([ BOS, 1, 2, 3 ], [ BOS, 40, 41 ], [ BOS, (7) x 5 ]);
runs(qw(act-dump -q -m neox -p), $h3, qw(--input ids -o p.saes prompts.txt));
my $p = stream_read('p.saes')->[0];

# The likeliest tokens one after the other, with feature 3 held at 2.5 (edit) at each new position where $sae is given.
sub greedy {
    my ($ids, $n, $sae) = @_;
    my @ids = @$ids;
    my %edited;
    for (1 .. $n) {
        my $clean = model_forward($model{neox}, \@ids)->{$h3};
        my $rows = [ map { $sae && $_ >= @$ids ? sae_patch($sae, [ $clean->[$_] ], [ [ 'set', [3], 2.5 ] ], undef, 0)->[0] : $clean->[$_] } 0 .. $#ids ];
        my $logits = model_forward($model{neox}, \@ids, { $h3 => $rows })->{logits}[-1];
        my $top = max(@$logits);
        push @ids, grep { $logits->[$_] == $top } 0 .. $#$logits;
    }
    return join ' ', @ids[ @$ids .. $#ids ];
}

sub written { return [ map { $_->{tokens} } @{ table(qw(-m neox -p), $h3, @_, 'p.saes') } ] }

is_deeply(written(qw(--generate 6 --temperature 0)), [ map { greedy($_, 6) } @prompts ], '--generate: the likeliest tokens');
my $sae = sae_random('tied', 32, 40);
sae_write('tied.safetensors', $sae);
my @hold = (qw(--generate 6 --temperature 0 --sae tied.safetensors -e), 'set 3 2.5');
my $held = written(@hold);
is_deeply($held, [ map { greedy($_, 6, $sae) } @prompts ], 'with an edit held on');
isnt("@$held", "@{ written(qw(--generate 6 --temperature 0)) }", 'which matters');
is_deeply(written(@hold, '-j1'), $held, 'threads do not');
is_deeply(written(qw(--generate 5 -s 3)), written(qw(--generate 5 -s 3 -j1)), 'a seed gives the same text');
isnt("@{ written(qw(--generate 5 -s 3)) }", "@{ written(qw(--generate 5 -s 4)) }", 'another one another');
misuse(3, qr/p\.saes: context 2 has 6 tokens, and the model has no room for 7 more: its contexts end at 12/,
    qw(act-splice -m neox --generate 7 -p), $h3, 'p.saes');
misuse(2, qr/-e needs --sae/, qw(act-splice -m neox --generate 7 -e), 'zero 1', '-p', $h3, 'p.saes');

# Tokens are drawn with the probabilities of softmax(logits / T).
file_write('many.txt', "1 2 3\n" x 1500);
runs(qw(act-dump -q -m neox -p), $h3, qw(--input ids -o many.saes many.txt));
my %seen;
$seen{ $_->{tokens} }++ for @{ table(qw(-m neox --generate 1 --temperature 0.7 -p), $h3, 'many.saes') };
my $logits = [ map { $_ / 0.7 } @{ model_forward($model{neox}, $prompts[0])->{logits}[-1] } ];
my $norm = lse(@$logits);
my ($chi, $classes, $rest, $rest_seen) = (0, 0, 0, 0);
for my $t (0 .. $#$logits) {
    my $mean = 1500 * exp($logits->[$t] - $norm);
    if ($mean < 10) {
        $rest += $mean;
        $rest_seen += $seen{$t} // 0;
        next;
    }
    $chi += (($seen{$t} // 0) - $mean)**2 / $mean;
    $classes++;
}
$chi += ($rest_seen - $rest)**2 / $rest;
cmp_ok($classes, '>', 5, 'several tokens are likely');
cmp_ok($chi, '<', $classes + 5 * sqrt(2 * $classes), "their frequencies are right: chi square $chi of $classes");
done_testing();
