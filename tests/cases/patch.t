#!/usr/bin/perl
# patch: sae-patch where it matters what a row is next to: --at and --token, over batches and sections. (What each edit does:
# sae.t; what its words mean: tests/unit/test_edit.c.)
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

# Only what changes the numbers is in the history.
is_deeply(stream_read('forth')->[0]{header}{history}[-1]{args}, [ '--edit', 'add 4 2' ], 'the edit is in the history');
done_testing();
