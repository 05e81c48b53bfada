#!/usr/bin/perl
# topk: sae-topk against brute force: contexts across batches and sections, samples, token histograms.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use List::Util qw(max sum min);
use RefFiles;
use RefTest;
use Test::More;

use constant M => 12;

# Three sections of contexts of many lengths, one of them with a gap in its positions. Values are small whole numbers, so
# that many are equal.
srand 8;
my (@row, @sections);
for my $section (0 .. 2) {
    my $ctx = 0;
    for my $length (1, 7, 3, 40, 2, 19) {
        for (1 .. $length) {
            my $pos = $_ + ($length == 19 && $_ > 9 ? 5 : 0);
            my $tok = int rand 9;
            my %codes = map { $_ => 1 + int rand 6 } grep { rand() < ($_ == 11 ? 0 : 0.02 + $_ / 20) } 0 .. M - 1;
            push @row, { section => $section, doc => int $ctx / 2, ctx => $ctx, pos => $pos, tok => $tok, text => " $tok",
                codes => \%codes };
        }
        $ctx++;
    }
    my @here = grep { $_->{section} == $section } @row;
    push @sections, \@here;
    my %columns = map { my $name = $_; $name => [ map { $_->{$name} } @here ] } qw(doc ctx pos tok text);
    stream_write("part$section", 'codes', M, [ map { $_->{codes} } @here ], %columns, batch => (5, 1, 33)[$section]);
}
system 'cat part0 part1 part2 >c.saes';

sub joined { my ($i) = @_; return $i >= 0 && $i < $#row && $row[$i]{section} == $row[ $i + 1 ]{section}
    && $row[$i]{ctx} == $row[ $i + 1 ]{ctx} && $row[$i]{pos} + 1 == $row[ $i + 1 ]{pos} }

sub context {
    my ($i, $w) = @_;
    my ($lo, $hi) = ($i, $i);
    $lo-- while $i - $lo < $w && joined($lo - 1);
    $hi++ while $hi - $i < $w && joined($hi);
    return join '', (map { $row[$_]{text} } $lo .. $i - 1), "<<$row[$i]{text}>>", map { $row[$_]{text} } $i + 1 .. $hi;
}

# The rows where a feature fires, best first; with $distinct at most one a context.
sub firings {
    my ($f, $distinct) = @_;
    my @on = sort { $row[$b]{codes}{$f} <=> $row[$a]{codes}{$f} || $a <=> $b } grep { $row[$_]{codes}{$f} } 0 .. $#row;
    my %seen;
    return $distinct ? grep { !$seen{"$row[$_]{section} $row[$_]{ctx}"}++ } @on : @on;
}

sub line { my ($f, $rank, $i, $w) = @_; return join '|', $f, $rank, $row[$i]{codes}{$f}, @{ $row[$i] }{qw(doc pos)}, context($i, $w) }

sub table {
    my ($names, $table) = tsv_read(scalar runs('sae-topk', @_));
    return @$table;
}

sub lines { return map { join '|', @$_{qw(feature rank value doc pos context)} } @_ }

# ---- the top ----

for my $w (0, 1, 3, 10, 100) {
    for my $k (1, 4, 1000) {
        my @want = map { my $f = $_; my @on = firings($f); map { line($f, $_ + 1, $on[$_], $w) } 0 .. min($k, scalar @on) - 1 } 0 .. M - 1;
        my @got = lines(table('-k', $k, '-w', $w, 'c.saes'));
        is(join("\n", @got), join("\n", @want), "-k $k -w $w: $#got rows");
    }
}
is(join("\n", lines(table(qw(--distinct -k 4 -w 2 c.saes)))),
    join("\n", map { my $f = $_; my @on = firings($f, 1); map { line($f, $_ + 1, $on[$_], 2) } 0 .. min(4, scalar @on) - 1 } 0 .. M - 1),
    '--distinct: the best of each context, and contexts of two sections are not one');
is(join(' ', map { $_->{feature} } table(qw(-k 1 -f), '7,2,10,2', 'c.saes')), '7 2 10', '-f: these, in this order');
is(scalar(table(qw(-k 0 c.saes))), 0, '-k 0: none');
is(join("\n", lines(table(qw(-k 2 -w 1 part1)))),
    join("\n", map { my $f = $_; my @on = grep { $row[$_]{section} == 1 } firings($f);
        map { line($f, $_ + 1, $on[$_], 1) } 0 .. min(2, scalar @on) - 1 } 0 .. M - 1), 'batches of one row');
my @by = sort { firings($b) <=> firings($a) || $a <=> $b } 0 .. M - 1;
is(join(' ', map { $_->{feature} } table(qw(--alive -k 1 c.saes))), join(' ', grep { scalar firings($_) } @by),
    '--alive: in order of how often they fire');
my @json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(sae-topk --json -k 2 -w 1 c.saes));
is(join("\n", lines(@json)), join("\n", lines(table(qw(-k 2 -w 1 c.saes)))), '--json: the same');

# ---- samples ----

sub of_kind { my ($kind, @table) = @_; return grep { $_->{sample} eq $kind } @table }

# Where in the stream a row of the table is: its context tells which of several.
sub place {
    my ($t, $w) = @_;
    my @found = grep { $row[$_]{doc} == $t->{doc} && $row[$_]{pos} == $t->{pos} && ($row[$_]{codes}{ $t->{feature} } // 0) == $t->{value}
        && context($_, $w) eq $t->{context} } 0 .. $#row;
    return $found[0];
}
{
    my @table = table(qw(-k 2 --random 5 -w 40 -s 3 c.saes));
    is(join("\n", lines(of_kind('top', @table))), join("\n", lines(table(qw(-k 2 -w 40 c.saes)))), '--random: the top is there as well');
    my @random = of_kind('random', @table);
    my %of;
    push @{ $of{ $_->{feature} } }, $_ for @random;
    is(join(' ', map { scalar @{ $of{$_} // [] } } 0 .. M - 1), join(' ', map { min(5, scalar firings($_)) } 0 .. M - 1),
        'five of each feature, or all it has');
    is(scalar(grep { !defined place($_, 40) } @random), 0, 'each of them is a firing');
    my %twice;
    is(scalar(grep { $twice{"$_->{feature} " . join ' ', @$_{qw(value doc pos context)}}++ } @random), 0, 'none comes twice');
    is(join("\n", lines(table(qw(-k 2 --random 5 -w 40 -s 3 c.saes)))), join("\n", lines(@table)), 'the same seed draws the same');
    isnt(join("\n", lines(table(qw(-k 2 --random 5 -w 40 -s 4 c.saes)))), join("\n", lines(@table)), 'another one others');
}
# Over many seeds every firing is drawn equally often.
{
    my ($f, %drawn, $n) = (9);
    my @on = firings($f);
    for my $seed (1 .. 60) {
        $drawn{ place($_, 40) }++, $n++ for of_kind('random', table(qw(-k 0 --random 10 -w 40), '-s', $seed, '-f', $f, 'c.saes'));
    }
    my $chi = sum map { ($drawn{$_} // 0) - $n / @on } ();
    $chi = sum map { (($drawn{$_} // 0) - $n / @on)**2 / ($n / @on) } @on;
    ok($n == 600 && $chi < @on + 5 * sqrt(2 * @on), sprintf 'draws are uniform: chi squared %.1f for %d firings', $chi, scalar @on);
}
{
    my @table = of_kind('quantile', table(qw(-k 0 --quantiles 3 -w 40 c.saes)));
    my %of;
    push @{ $of{ $_->{feature} } }, $_ for @table;
    my ($wrong, $outside) = (0, 0);
    for my $f (0 .. M - 1) {
        my @on = firings($f);
        my @value = map { $_->{value} } @{ $of{$f} // [] };
        $wrong++ if @value != min(3, scalar @on) || "@value" ne join ' ', sort { $b <=> $a } @value;
        next if @on > 60 || @on < 3;                            # beyond that only a sample of 60 is kept
        my @want = map { $row[ $on[ (2 * $_ + 1) * @on / 6 ] ]{codes}{$f} } 0 .. 2;
        $wrong++ if "@value" ne "@want";
        $outside++;
    }
    is($wrong, 0, '--quantiles: the middle of each third of the values');
    cmp_ok($outside, '>', 3, 'the test has features for that');
}

# ---- tokens ----

{
    my @want;
    for my $f (0 .. M - 1) {
        my %of;
        push @{ $of{ $row[$_]{tok} } }, $row[$_]{codes}{$f} for firings($f);
        my $n = sum 0, map { scalar @$_ } values %of;
        my $rank = 0;
        for (sort { @{ $of{$b} } <=> @{ $of{$a} } || $a <=> $b } keys %of) {
            last if ++$rank > 3;
            push @want, sprintf '%d|%d| %s|%s|%d|%.6f|%.6f|%g', $f, $rank, $_, $_, scalar @{ $of{$_} }, @{ $of{$_} } / $n,
                sum(@{ $of{$_} }) / @{ $of{$_} }, max @{ $of{$_} };
        }
    }
    my @got = map { sprintf '%d|%d|%s|%s|%d|%.6f|%.6f|%g', @$_{qw(feature rank token tok count share mean max)} } table(qw(--tokens -k 3 c.saes));
    is(join("\n", @got), join("\n", @want), '--tokens: counts, shares, means and maxima');
}

# Many different tokens, spread over all numbers they may have.
{
    my @tok = map { ($_ * 2654435761) % 2**32 } 1 .. 3000;
    stream_write('many', 'codes', 2, [ map { { 0 => 1 } } @tok ], tok => \@tok, text => [ map { "<$_>" } @tok ], batch => 700);
    my @table = table(qw(--tokens -k 5000 many));
    is(join(' ', sort { $a <=> $b } map { $_->{token} =~ /^<(\d+)>$/ && $1 == $_->{tok} && $_->{count} == 1 ? $1 : 'wrong' } @table),
        join(' ', sort { $a <=> $b } @tok), '3000 tokens, each with its own text');
}

# ---- text ----

# Characters cut by tokens are whole in a context, and alone shown as bytes; what would break a table is escaped.
my @text = ("\xc3", "\xa9t\xc3\xa9", "\t", "a\nb", "\\", "\x01", "\xff", '"', '<<', '');
stream_write('bytes', 'codes', scalar @text, [ map { { $_ => 1 } } 0 .. $#text ], ctx => [ (0) x @text ], pos => [ 0 .. $#text ],
    text => \@text, batch => 3);
my @shown = map { (split /\t/)[5] } (split /\n/, runs(qw(sae-topk -w 1 bytes)))[ 1 .. @text ];
is_deeply(\@shown, [ '<<\xC3>>\xA9t' . "\xc3\xa9", '\xC3<<\xA9t' . "\xc3\xa9" . '>>\t', '\xA9t' . "\xc3\xa9" . '<<\t>>a\nb', '\t<<a\nb>>\\\\',
    'a\nb<<\\\\>>\x01', '\\\\<<\x01>>\xFF', '\x01<<\xFF>>"', '\xFF<<">><<', '"<<<<>>', '<<<<>>' ], 'text of every kind of bytes');
is((split /\t/, (split /\n/, runs(qw(sae-topk -w 9 -f 4 bytes)))[1])[5],
    "\xc3\xa9t\xc3\xa9" . '\ta\nb<<\\\\>>\x01\xFF"<<', 'characters are whole again between tokens');
@json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(sae-topk --json -w 0 bytes));
is($json[7]{context}, '<<">>', '--json: quoted');
is($json[3]{context}, "<<a\nb>>", "and a newline is JSON's own");

# Streams without some of the columns.
stream_write('bare', 'codes', 2, [ { 0 => 1 }, { 0 => 2, 1 => 1 } ]);
is(join("\n", lines(table(qw(bare)))), "0|1|2|0|1|<<>>\n0|2|1|0|0|<<>>\n1|1|1|0|1|<<>>", 'no columns at all: the row is the position');
stream_write('ids', 'codes', 1, [ ({ 0 => 1 }) x 3 ], tok => [ 7, 8, 9 ], ctx => [ 0, 0, 0 ], pos => [ 1, 2, 3 ]);
is((split /\t/, (split /\n/, runs(qw(sae-topk ids)))[2])[5], ' 7<< 8>> 9', 'without text: the ids');

done_testing();
