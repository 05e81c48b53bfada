#!/usr/bin/perl
# patch: sae-patch where it matters what a row is next to: --at and --token, over batches and sections; and edits that take
# something from elsewhere: another run, a vector. (What the others do: sae.t; what words mean: tests/unit/test_edit.c.)
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 10;
my $d = 6;
my $s = sae_random('relu', $d, 10);
sae_write('s.sae', $s);

# Two sections; contexts end at, before and behind the ends of batches, and the last context of the first section has the
# number of the first one of the second.
my @text = ("\n", ' a', "\t", '\\', "\xc3", "\xff\x00", ' a ', '\\n', '');
my @row;
for my $section (0, 1) {
    my @here;
    for ($section ? ([ 3, 3 ], [ 4, 1 ], [ 5, 6 ]) : ([ 1, 4 ], [ 2, 5 ], [ 0, 1 ], [ 3, 2 ])) {
        my ($ctx, $length) = @$_;
        push @here, map { +{ section => $section, ctx => $ctx, pos => $_, tok => $_, text => $text[ (@row + @here + $_) % @text ] } }
            1 .. $length;
    }
    my $x = random_rows(scalar @here, $d, 1);
    $here[$_]{x} = $x->[$_] for 0 .. $#here;
    push @row, @here;
    my %columns = map { my $name = $_; $name => [ map { $_->{$name} } @here ] } qw(ctx pos tok text);
    stream_write("part$section", 'acts', $d, $x, %columns, batch => 4, header => { part => $section });
}
file_write('a.saes', file_read('part0') . file_read('part1'));
my $x = [ map { $_->{x} } @row ];
my @last = map { $_ == $#row || $row[$_]{ctx} != $row[ $_ + 1 ]{ctx} || $row[$_]{section} != $row[ $_ + 1 ]{section} } 0 .. $#row;
my $ends = grep { $_ } @last;
cmp_ok($ends, '>=', 7, "the test has $ends contexts");

sub check {
    my ($name, $where, @args) = @_;
    runs('sae-patch', @args, qw(-o out s.sae a.saes));
    my $sections = eval { stream_read('out') } // [];
    my @out = @$sections;
    is(join(' ', map { "$_->{header}{part}:$_->{rows}" } @out), '0:12 1:10', "$name: two sections, each with its header");
    my @got = map { @{ $_->{x} } } @out;
    near_rows(\@got, sae_patch($s, $x, [ [ 'add', [4], 2 ] ], $where, 0), 1e-5, "$name: rows");
    my @moved = grep { "@{$got[$_]}" ne "@{$x->[$_]}" } 0 .. $#got;
    is("@moved", join(' ', grep { $where->($_) } 0 .. $#row), "$name: all other rows keep their bits");
}
my @add = ('-e', 'add 4 2');

check('all', sub { 1 }, @add);
check('--at last', sub { $last[ $_[0] ] }, @add, qw(--at last));
check('--at 2', sub { $row[ $_[0] ]{pos} == 2 }, @add, qw(--at 2));
check('--at 2:4', sub { $row[ $_[0] ]{pos} >= 2 && $row[ $_[0] ]{pos} <= 4 }, @add, qw(--at 2:4));
check('--at 5:5', sub { $row[ $_[0] ]{pos} == 5 }, @add, qw(--at 5:5));
check('--at 9', sub { 0 }, @add, qw(--at 9));
for ([ '\n', "\n" ], [ '\t', "\t" ], [ ' a', ' a' ], [ ' a ', ' a ' ], [ '\\\\', '\\' ], [ '\xC3', "\xc3" ], [ '\xc3', "\xc3" ],
    [ "\xc3", "\xc3" ], [ '\xff\x00', "\xff\0" ], [ '\\\\n', '\\n' ], [ '', '' ], [ 'a', 'a' ], [ '\x20a', ' a' ]) {
    my ($word, $token) = @$_;
    check('--token ' . ($word =~ s/([^ -~])/sprintf '<%02x>', ord $1/ger), sub { $row[ $_[0] ]{text} eq $token }, @add, '--token', $word);
}
check('--token and --at', sub { $row[ $_[0] ]{text} eq ' a' && $last[ $_[0] ] }, @add, '--token', ' a', qw(--at last));
check('--token and --at', sub { $row[ $_[0] ]{text} eq "\n" && $row[ $_[0] ]{pos} <= 3 }, @add, '--token', '\n', qw(--at 0:3));
file_write('edits', "# what to do\n\nadd 4 1\n  add 4 1  \r\n");
check('-f', sub { 1 }, qw(-f edits));
file_write('edits', 'add 4 1.5');
check('-f and -e', sub { 1 }, '-e', 'add 4 0.5', qw(-f edits));

# Rows of another type come back in it.
stream_write('half', 'acts', $d, $x, dtype => 'f16', batch => 9);
my $half = stream_read('half')->[0]{x};
runs(qw(sae-patch -o out -e), 'add 4 2', qw(s.sae half));
my $out = stream_read('out')->[0];
is($out->{header}{dtype}, 'f16', 'f16 rows stay f16');
my $want = sae_patch($s, $half, [ [ 'add', [4], 2 ] ], undef, 0);
my $wrong = grep { my $i = $_; grep { abs($out->{x}[$i][$_] - $want->[$i][$_]) > 2**-11 * (abs($want->[$i][$_]) + 1e-3) } 0 .. $d - 1 } 0 .. $#$want;
is($wrong, 0, 'each the nearest of its type');
misuse(3, qr/<stdout>: row 0: a value that is not finite/, qw(sae-patch -e), 'add 4 1e30', qw(s.sae half));

# Undoing an edit gives the rows again, within rounding; a mean over a file as --at does not choose from it.
runs(qw(sae-patch -o forth -e), 'add 4 2', qw(s.sae a.saes));
runs(qw(sae-patch -o back -e), 'add 4 -2', qw(s.sae forth));
near_rows([ map { @{ $_->{x} } } @{ stream_read('back') } ], $x, 1e-6, 'there and back');

# ---- edits that look at another run: other rows at the same places, cut into other batches ----

my $n = @row;
my $other = random_rows($n, $d, 1);
my %places = map { my $name = $_; $name => [ map { $_->{$name} } @row ] } qw(ctx pos tok text);
stream_write('base', 'acts', $d, $x, %places, batch => 5);
stream_write('b.saes', 'acts', $d, $other, %places, batch => 7);
runs(qw(sae-encode -o b.codes s.sae b.saes));
runs(qw(sae-encode -o base.codes s.sae base));
runs(qw(sae-encode --error -o b.error s.sae b.saes));
my ($f, $g) = map { sae_encode($s, $_) } $x, $other;

# x + sum over these features of (g - f) d
sub copied {
    my ($features, $where) = @_;
    return [ map {
        my $i = $_;
        my @y = @{ $x->[$i] };
        for my $k ($where->($i) ? @$features : ()) {
            my $change = ($g->[$i]{$k} // 0) - ($f->[$i]{$k} // 0);
            $y[$_] += $change * $s->{dec}[$k][$_] for 0 .. $d - 1;
        }
        \@y } 0 .. $n - 1 ];
}

sub patched {
    runs('sae-patch', '-o', 'out', (map { ('-e', $_) } @_), qw(s.sae base));
    return [ map { @{ $_->{x} } } @{ stream_read('out') } ];
}
near_rows(patched('copy 2,5-7 b.codes'), copied([ 2, 5 .. 7 ], sub { 1 }), 1e-5, 'copy: the values of the other run');
near_rows(patched('copy 2 b.codes @ last', 'copy 3 b.codes @ 2:3'), [ map { my $i = $_;
        copied([ ($i == $n - 1 || $row[$i]{ctx} != $row[ $i + 1 ]{ctx} ? 2 : ()), ($row[$i]{pos} =~ /^[23]$/ ? 3 : ()) ], sub { 1 })->[$i] } 0 .. $n - 1 ], 1e-5,
    'copy, an edit at its own places');
near_rows(patched('copy all b.codes', 'error b.error'), $other, 1e-5, 'all features and the error: the other run');
near_rows(patched('error b.error', 'copy all b.codes'), $other, 1e-5, 'in the other order too');
near_rows(patched('copy all base.codes'), $x, 1e-6, 'copying from itself changes nothing');
is(join(' ', map { "@$_" } @{ patched('copy 4 base.codes') }), join(' ', map { "@$_" } @$x), 'not one bit');
runs(qw(sae-patch --replace -o out -e), 'copy all b.codes', qw(s.sae base));
runs(qw(sae-patch --replace -o want s.sae b.saes));
near_rows([ map { @{ $_->{x} } } @{ stream_read('out') } ], [ map { @{ $_->{x} } } @{ stream_read('want') } ], 1e-6,
    'all features with --replace: its reconstruction');
runs(qw(sae-patch --replace -o out -e), 'copy all b.codes', '-e', 'error b.error', qw(s.sae base));
near_rows(stream_read('out')->[0]{x}, $other, 1e-5, 'and the error back');

# Projections and vectors.
sub inner { my ($u, $v) = @_; my $t = 0; $t += $u->[$_] * $v->[$_] for 0 .. $#$u; return $t }
my $v = random_rows(2, $d, 2);
npy_write('v.npy', '<f4', [$d], $v->[0]);
npy_write('v2.npy', '<f4', [ 2, $d ], [ map { @$_ } @$v ]);
npy_write('wide.npy', '<f4', [ $d + 1 ], [ (1) x ($d + 1) ]);
near_rows(patched('vector -1.5 v.npy'), [ map { my $r = $_; [ map { $r->[$_] - 1.5 * $v->[0][$_] } 0 .. $d - 1 ] } @$x ], 1e-6, 'vector');
near_rows(patched('remove v.npy'), [ map { my $r = $_; my $c = inner($r, $v->[0]) / inner($v->[0], $v->[0]);
        [ map { $r->[$_] - $c * $v->[0][$_] } 0 .. $d - 1 ] } @$x ], 1e-5, 'remove: the projection');
my $out2 = patched('remove v2.npy');
near_rows([ map { my $r = $_; [ map { inner($r, $_) } @$v ] } @$out2 ], [ ([ 0, 0 ]) x $n ], 1e-5, 'of two: both are gone');
runs(qw(sae-patch -o twice -e), 'remove v2.npy', qw(s.sae out));
near_rows(stream_read('twice')->[0]{x}, $out2, 1e-6, 'once is enough');
near_rows(patched('remove v.npy', 'vector 1 v.npy', 'remove v.npy @ 2', 'remove v.npy'), patched('remove v.npy'), 1e-5,
    'edits of the row are done in order');
near_rows([ map { [ inner($_, $s->{dec}[3]) ] } @{ patched('remove 3') } ], [ ([0]) x $n ], 1e-5, 'remove F: the decoder row');

# silence: the encoder itself reads 0 where it read more, and less is taken off than by zero where it overshoots.
my $quiet = sae_encode($s, patched('silence 1'));
my $a = inner($s->{enc}[1], $s->{dec}[1]);
near_rows([ map { [ $_->{1} // 0 ] } @$quiet ], [ ([0]) x $n ], 1e-5, 'silence: nothing of the feature is left');
cmp_ok(abs($a - 1), '>', 1e-3, "though the dictionary is not tied (e . d = $a)");
near_rows(patched('silence 1'), sae_patch($s, $x, [ [ 'scale', [1], 1 - 1 / $a ] ], undef, 0), 1e-5, 'by f / (e . d)');

# What does not belong together is refused by name.
stream_write('late.codes', 'codes', 10, $g, %places, pos => [ map { $_ + 1 } @{ $places{pos} } ]);
misuse(3, qr/: late\.codes: row 0 is not the same place: pos 2, the row it goes with has pos 1\n/, qw(sae-patch -e), 'copy 1 late.codes', qw(s.sae base));
stream_write('late.codes', 'codes', 10, $g, %places, ctx => [ @{ $places{ctx} }[ 0 .. 8 ], 77, @{ $places{ctx} }[ 10 .. $n - 1 ] ]);
misuse(3, qr/: late\.codes: row 9 is not the same place: ctx 77, /, qw(sae-patch -e), 'copy 1 late.codes', qw(s.sae base));
stream_write('few.codes', 'codes', 10, [ @$g[ 0 .. $n - 2 ] ], map { $_ => [ @{ $places{$_} }[ 0 .. $n - 2 ] ] } qw(ctx pos));
misuse(3, qr/: few\.codes: ends after ${\($n - 1)} rows/, qw(sae-patch -e), 'copy 1 few.codes', qw(s.sae base));
stream_write('one', 'acts', $d, [ $x->[0] ], map { $_ => [ $places{$_}[0] ] } qw(ctx pos));
misuse(3, qr/: b\.codes: goes on behind the last row/, qw(sae-patch -e), 'copy 1 b.codes', qw(s.sae one));
misuse(3, qr/: base: acts of width 6 where codes of width 10/, qw(sae-patch -e), 'copy 1 base', qw(s.sae base));
misuse(3, qr/: b\.codes: codes of width 10 where acts of width 6/, qw(sae-patch -e), 'error b.codes', qw(s.sae base));
stream_write('hook.codes', 'codes', 10, $g, %places, header => { hook => 'blocks.1.hook_mlp_out' });
stream_write('hooked', 'acts', $d, $x, %places, header => { hook => 'blocks.0.hook_mlp_out' });
misuse(3, qr/: hook\.codes: rows of another hook: blocks\.1/, qw(sae-patch -e), 'copy 1 hook.codes', qw(s.sae hooked));
stream_write('sae.codes', 'codes', 10, $g, %places, header => { sae => { sha => 'abc' } });
misuse(3, qr/: sae\.codes: codes of another dictionary/, qw(sae-patch -e), 'copy 1 sae.codes', qw(s.sae base));
misuse(3, qr/: wide\.npy: a matrix of 1 by 7 has no rows of width 6/, qw(sae-patch -e), 'vector 1 wide.npy', qw(s.sae base));
misuse(3, qr/: v2\.npy: 2 vectors where one is wanted/, qw(sae-patch -e), 'vector 1 v2.npy', qw(s.sae base));
misuse(2, qr/edit 'zero 1 \@ 3:2': '3:2' is not POS, LO:HI or last/, qw(sae-patch -e), 'zero 1 @ 3:2', qw(s.sae base));
misuse(1, qr/: none: cannot open/, qw(sae-patch -e), 'copy 1 none', qw(s.sae base));
stream_write('bare', 'acts', $d, $x);
misuse(3, qr/: bare: no column pos/, qw(sae-patch -e), 'zero 1 @ 3', qw(s.sae bare));

# Any column chooses rows: one of text, one of numbers; --where takes what stands behind an edit's @.
{
    my @label = map { ('fr', 'de', 'fr de', '')[ $_ % 4 ] } 0 .. 9;
    my @score = map { $_ - 3 } 0 .. 9;
    my @from = ([ 0 .. 3 ], [ 4 .. 9 ]);
    my @batches = map {
        my @i = @$_;
        my ($n, $text, @end) = (scalar @i, '');
        for (@i) {
            $text .= $label[$_];
            push @end, length $text;
        }
        { n => $n, cols => [ [ 'x', 'f32', [ $n, $d ], [ map { @{ $x->[$_] } } @i ] ],
            [ 'label', 'u8', [ length $text ], \$text, 'text' ], [ 'label_end', 'u32', [$n], \@end ],
            [ 'score', 'i32', [$n], [ @score[@i] ], 'row' ], [ 'ctx', 'u32', [$n], [ (1) x $n ] ] ] }
    } @from;
    my %header = (v => 1, kind => 'acts', d => $d, dtype => 'f32');
    file_write('labels.saes', stream_bytes(\%header, \@batches));
    my @ten = @$x[ 0 .. 9 ];
    for ([ 'label=fr', sub { $label[ $_[0] ] eq 'fr' } ], [ 'label=fr\\ de', sub { $label[ $_[0] ] eq 'fr de' } ],
        [ 'label!=fr', sub { $label[ $_[0] ] ne 'fr' } ], [ 'label=', sub { $label[ $_[0] ] eq '' } ],
        [ 'score=-1:2', sub { $score[ $_[0] ] >= -1 && $score[ $_[0] ] <= 2 } ],
        [ 'label=de score=2-6', sub { $label[ $_[0] ] eq 'de' && $score[ $_[0] ] >= 2 } ], [ 'last', sub { $_[0] == 9 } ]) {
        my ($words, $where) = @$_;
        my $want = sae_patch($s, \@ten, [ [ 'add', [4], 2 ] ], $where, 0);
        for my $args ([ '-e', "add 4 2 @ $words" ], [ '--where', $words, @add ]) {
            runs('sae-patch', @$args, qw(-o out s.sae labels.saes));
            my $out = stream_read('out')->[0];
            near_rows($out->{x}, $want, 1e-5, "'$words'");
            my @moved = grep { "@{$out->{x}[$_]}" ne "@{$ten[$_]}" } 0 .. 9;
            is("@moved", join(' ', grep { $where->($_) } 0 .. 9), "'$words': no other row");
        }
    }
    misuse(3, qr/: labels\.saes: column score is of numbers: 'fr' is none/, qw(sae-patch --where score=fr -e), 'zero 1', qw(s.sae labels.saes));
    misuse(3, qr/: labels\.saes: no column lang/, qw(sae-patch --where lang=fr -e), 'zero 1', qw(s.sae labels.saes));
    misuse(2, qr/--where: 'fr' is not POS/, qw(sae-patch --where fr -e), 'zero 1', qw(s.sae labels.saes));

    # A batch that lacks a column which the one before it had.
    @{ $batches[1]{cols} } = grep { $_->[0] ne 'ctx' } @{ $batches[1]{cols} };
    file_write('lacks.saes', stream_bytes(\%header, \@batches));
    misuse(3, qr/: lacks\.saes: no column ctx to choose rows by in record 2/, qw(sae-patch -o out -e), $_, qw(s.sae lacks.saes))
        for 'zero 1 @ last', 'zero 1 @ ctx=1';
    misuse(3, qr/: lacks\.saes: no column ctx/, qw(sae-patch -o out --at last -e), 'zero 1', qw(s.sae lacks.saes));
}

# Zeros that come back when the rows are encoded again are said; where the encoder row undoes the decoder row they do not.
{
    my $untied = { %$s, enc => [ map { [@$_] } @{ $s->{enc} } ] };
    my $fall = sub { my ($i) = @_; my $f = 0; $f += $untied->{enc}[$i][$_] * $s->{dec}[$i][$_] for 0 .. $d - 1; $f };
    for my $to ([ 2, 0.25 ], [ 3, 0.75 ], [ 4, 1 ], [ 5, 1.5 ]) {
        my ($i, $a) = @$to;
        my $now = $fall->($i);
        $untied->{enc}[$i][$_] *= $a / $now for 0 .. $d - 1;
    }
    sae_write('u.sae', $untied);
    stream_write('u.saes', 'acts', $d, $x);
    my $said = sub { my ($code, undef, $err) = tool(qw(sae-patch -o out), @_, qw(u.sae u.saes)); $code ? "exit $code" : $err };
    like($said->('-e', 'zero 2'), qr/\Asae-patch: note: encoded again, feature 2 can come back with 0\.75 of .*'silence 2'/, 'a zero that comes back');
    like($said->('-e', 'zero 2,3,4'), qr/, 2 of the features set to 0 can come back, feature 2 with 0\.75 of/, 'two of them');
    is($said->('-e', $_), '', "no note: $_") for 'zero 4', 'zero 5', 'silence 2', 'set 2 1', 'scale 2 0.5', 'keep 1';
    is($said->('-q', '-e', 'zero 2'), '', 'none with -q');
    is($said->('--replace', '-e', 'zero 2'), '', 'none with --replace');
    runs(qw(sae-patch -q -o out -e), 'zero 2', qw(u.sae u.saes));
    runs(qw(sae-encode -o before u.sae u.saes));
    runs(qw(sae-encode -o after u.sae out));
    my ($before, $after) = map { stream_read($_)->[0]{codes} } qw(before after);
    my @bad = grep { abs(($after->[$_]{2} // 0) - 0.75 * ($before->[$_]{2} // 0)) > 1e-4 } 0 .. $#$before;
    is("@bad", '', 'and that is what comes back');
    ok(scalar(grep { $_->{2} } @$before), 'where it fires');
}

# Only what changes the numbers is in the history.
is_deeply(stream_read('forth')->[0]{header}{history}[-1]{args}, [ '--edit', 'add 4 2' ], 'the edit is in the history');
runs(qw(sae-patch -o out --where 2 --token a -e), 'add 4 2', qw(s.sae a.saes));
is_deeply(stream_read('out')->[0]{header}{history}[-1]{args}, [ '--edit', 'add 4 2', '--where', '2', '--token', 'a' ], 'and where');
done_testing();
