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

# The rows where a feature fires, best first; with a width at most one a context, and one of a text as that width shows it.
sub firings {
    my ($f, $width) = @_;
    my @on = sort { $row[$b]{codes}{$f} <=> $row[$a]{codes}{$f} || $a <=> $b } grep { $row[$_]{codes}{$f} } 0 .. $#row;
    return @on if !defined $width;
    my (%seen, %text);
    return grep { !$text{ context($_, $width) }++ } grep { !$seen{"$row[$_]{section} $row[$_]{ctx}"}++ } @on;
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
for my $w (0 .. 3) {
    for my $k (1, 4, 1000) {
        is(join("\n", lines(table('--distinct', '-k', $k, '-w', $w, 'c.saes'))),
            join("\n", map { my $f = $_; my @on = firings($f, $w); map { line($f, $_ + 1, $on[$_], $w) } 0 .. min($k, scalar @on) - 1 } 0 .. M - 1),
            "--distinct -k $k -w $w: the best of each context, no text twice, and contexts of two sections are not one");
    }
}
{
    # The same passage in two documents: its firings come in every order of their values.
    my @value = (3, 5, 4, 5, 1, 9);
    stream_write('twice', 'codes', 1, [ map { ({}, { 0 => $_ }, {}) } @value ], doc => [ map { ($_) x 3 } 0 .. 5 ], ctx => [ map { ($_) x 3 } 0 .. 5 ],
        pos => [ (0 .. 2) x 6 ], text => [ map { (" the", $_ == 4 ? ' other' : ' same', ' end') } 0 .. 5 ], batch => 4);
    is(join("\n", lines(table(qw(--distinct twice)))), "0|1|9|5|1| the<< same>> end\n0|2|1|4|1| the<< other>> end", 'the best of a text, whenever it comes');
    is(join("\n", lines(table(qw(--distinct -w 0 -k 1 twice)))), '0|1|9|5|1|<< same>>', 'and when it drove out its twin');
    stream_write('ids0', 'codes', 1, [ ({ 0 => 1 }) x 4 ], ctx => [ 0, 0, 1, 1 ], pos => [ 0, 1, 0, 1 ]);
    is(scalar(table(qw(--distinct ids0))), 2, 'contexts without any text are told by ctx alone');
}
is(join(' ', map { $_->{feature} } table(qw(-k 1 -f), '7,2,10,2', 'c.saes')), '7 2 10', '-f: these, in this order');
is(join(' ', map { $_->{feature} } table(qw(-k 1 -f), '7,2-4,3:5,10', 'c.saes')), '7 2 3 4 5 10', '-f: ranges, each feature once');
misuse(2, qr/-f: '4-12' is not a feature from 0 to 11/, qw(sae-topk -f), '4-12', 'c.saes');
is(scalar(table(qw(-k 0 c.saes))), 0, '-k 0: none');
is(join("\n", lines(table(qw(-k 2 -w 1 part1)))),
    join("\n", map { my $f = $_; my @on = grep { $row[$_]{section} == 1 } firings($f);
        map { line($f, $_ + 1, $on[$_], 1) } 0 .. min(2, scalar @on) - 1 } 0 .. M - 1), 'batches of one row');
my @by = sort { firings($b) <=> firings($a) || $a <=> $b } 0 .. M - 1;
is(join(' ', map { $_->{feature} } table(qw(--alive -k 1 c.saes))), join(' ', grep { scalar firings($_) } @by),
    '--alive: in order of how often they fire');

# ---- how often ----

my %density = map { my $f = $_; $f => [ scalar(firings($f)), scalar(firings($f)) / @row ] } 0 .. M - 1;
sub is_dense { my ($t) = @_; return $t->{count} == $density{ $t->{feature} }[0] && abs($t->{density} - $density{ $t->{feature} }[1]) < 1e-8 }
is(scalar(grep { !is_dense($_) } table(qw(-k 3 c.saes)), table(qw(-k 1 --alive -f), '3,7', 'c.saes')), 0,
    'count and density beside each context, also with few features');
{
    my @table = table(qw(--counts c.saes));
    is(join(' ', map { $_->{feature} } @table), join(' ', 0 .. M - 1), '--counts: a line a feature, dead ones too');
    is(scalar(grep { !is_dense($_) } @table), 0, 'how often each fires');
    is(join(' ', map { "$_->{mean} $_->{max}" } @table),
        join(' ', map { my $f = $_; my @v = map { $row[$_]{codes}{$f} } firings($f); @v ? sprintf('%.9g %g', sum(@v) / @v, max @v) : ' ' } 0 .. M - 1),
        'mean and largest value, nothing for a dead one');
    is(join(' ', map { $_->{feature} } table(qw(--counts --alive -f), '3,9,5', 'c.saes')), join(' ', grep { /^[359]$/ } @by), '--counts --alive');
}

# ---- rows that are chosen ----

{
    my @rows = grep { $row[$_]{doc} == 1 } 0 .. $#row;
    my %in = map { $_ => 1 } @rows;
    is(join("\n", lines(table(qw(--where doc=1 -k 4 -w 3 c.saes)))),
        join("\n", map { my $f = $_; my @on = grep { $in{$_} } firings($f); map { line($f, $_ + 1, $on[$_], 3) } 0 .. min(4, scalar @on) - 1 } 0 .. M - 1),
        '--where: the best of these rows; their neighbors are there all the same');
    is(join(' ', map { sprintf '%d %.9g', @$_{qw(count density)} } table(qw(--where doc=1 --counts c.saes))),
        join(' ', map { my $f = $_; my $n = grep { $in{$_} } firings($f); sprintf '%d %.9g', $n, $n / @rows } 0 .. M - 1), 'counted among these rows');
    my @last = grep { $_ == $#row || $row[$_]{section} != $row[ $_ + 1 ]{section} || $row[$_]{ctx} != $row[ $_ + 1 ]{ctx} } 0 .. $#row;
    is(join(' ', map { $_->{count} } table(qw(--where last --counts c.saes))),
        join(' ', map { my $f = $_; scalar grep { $row[$_]{codes}{$f} } @last } 0 .. M - 1), '--where last');
    misuse(2, qr/^sae-topk: --where: /, qw(sae-topk --where), 'what', 'c.saes');
    misuse(3, qr/^sae-topk: c\.saes: .*nothing/, qw(sae-topk --where nothing=1 c.saes));
}

# ---- columns of the stream's own ----

{
    # Columns of text beside the codes, in batches of two rows; one has long text, none, and bytes that need escapes.
    my %text = (lang => [ 'fr', 'de', '', "a\tb", 'fr', 'x' x 2000 ], source => [ map { "s$_" } 0 .. 5 ]);
    my @batches = map {
        my @i = (2 * $_, 2 * $_ + 1);
        my @cols = ([ 'ptr', 'u32', [3], [ 0, 1, 2 ] ], [ 'idx', 'u32', [2], [ 0, 1 ] ], [ 'val', 'f32', [2], [ map { 10 - $_ } @i ] ]);
        for my $name (sort keys %text) {
            my $bytes = join '', @{ $text{$name} }[@i];
            push @cols, [ $name, 'u8', [ length $bytes ], \$bytes, 'text' ], [ "${name}_end", 'u32', [2], [ length $text{$name}[ $i[0] ], length $bytes ] ];
        }
        { n => 2, cols => \@cols };
    } 0 .. 2;
    file_write('fields', stream_bytes({ v => 1, kind => 'codes', d => 2, dtype => 'f32' }, \@batches));
    my ($names, $table) = tsv_read(scalar runs(qw(sae-topk --show), 'source,lang', 'fields'));
    is("@$names[-4 .. -1]", 'count density source lang', '--show: columns at the end, as they are asked for');
    is(join('|', map { "$_->{feature} $_->{source} $_->{lang}" } @$table), "0 s0 fr|0 s2 |0 s4 fr|1 s1 de|1 s3 a\tb|1 s5 " . 'x' x 997 . '...', 'of the row that fires');
    is(join('|', map { $_->{lang} } map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(sae-topk --json -f 1 -k 2 --show lang fields))), "de|a\tb",
        'in JSON');
    is(join(' ', map { "$_->{feature}:$_->{count}:$_->{value}" } table(qw(--where lang=fr fields))), '0:2:10 0:2:6', '--where by such a column');
    misuse(3, qr/^sae-topk: fields: no column tongue of text/, qw(sae-topk --show tongue fields));
    misuse(2, qr/there is a column 'rank' already/, qw(sae-topk --show rank fields));
    misuse(2, qr/there is a column 'lang' already/, qw(sae-topk --show), 'lang,lang', 'fields');
    misuse(2, qr/a name is missing/, qw(sae-topk --show), 'lang,', 'fields');
    misuse(2, qr/more than 16 columns/, qw(sae-topk --show), join(',', 1 .. 17), 'fields');
}

# ---- JSON and values ----

sub value_at { my ($f, $i) = @_; return $row[$i]{codes}{$f} // 0 }

my @json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(sae-topk --json -k 2 -w 3 c.saes));
{
    my @want;
    for my $f (0 .. M - 1) {
        my @on = firings($f);
        for my $rank (1 .. min(2, scalar @on)) {
            my $i = $on[ $rank - 1 ];
            my ($lo, $hi) = ($i, $i);
            $lo-- while $i - $lo < 3 && joined($lo - 1);
            $hi++ while $hi - $i < 3 && joined($hi);
            my $text = sub { join '', map { $row[$_]{text} } @_ };
            push @want, { feature => $f, rank => $rank, value => value_at($f, $i), doc => $row[$i]{doc}, pos => $row[$i]{pos},
                before => $text->($lo .. $i - 1), token => $row[$i]{text}, after => $text->($i + 1 .. $hi),
                tokens => [ map { $row[$_]{text} } $lo .. $hi ], values => [ map { value_at($f, $_) } $lo .. $hi ] };
        }
    }
    is(scalar(grep { !is_dense($_) } @json), 0, '--json: counts and densities');
    delete @$_{qw(count density)} for @json;
    is_deeply(\@json, \@want, '--json: text before, token, text after; tokens and their values');
    my @table = table(qw(--values -k 2 -w 3 c.saes));
    is_deeply([ map { [ @$_{qw(tokens values)} ] } @table ],
        [ map { [ join(' ', map { s/ /\\x20/gr } @{ $_->{tokens} }), join(' ', @{ $_->{values} }) ] } @want ], '--values: the same in a table');
    is(join("\n", lines(@table)), join("\n", lines(table(qw(-k 2 -w 3 c.saes)))), 'and its other columns');
}

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

# ---- the features of a token ----

sub about {
    my ($is_token, $k, @rows) = @_;
    my @on = grep { $is_token->($row[$_]{text}) } @rows;
    my @found;
    for my $f (0 .. M - 1) {
        my @hit = map { value_at($f, $_) } grep { value_at($f, $_) } @on;
        my $all = grep { value_at($f, $_) } @rows;
        push @found, [ $f, scalar @hit, @hit / $all, @hit / @on, 2 * @hit / ($all + @on), sum(@hit) / @hit, max(@hit), $all / @rows ] if @hit;
    }
    @found = sort { $b->[4] <=> $a->[4] || $a->[0] <=> $b->[0] } @found;
    $#found = $k - 1 if @found > $k;
    return join "\n", map { join ' ', map { sprintf '%.6g', $_ } $found[$_][0], $_ + 1, @{ $found[$_] }[ 1 .. 7 ] } 0 .. $#found;
}

sub about_lines { return join "\n", map { join ' ', map { sprintf '%.6g', $_ } @$_{qw(feature rank count share recall f1 mean max density)} } @_ }

is(about_lines(table('--token', ' 3', '-k', 4, 'c.saes')), about(sub { $_[0] eq ' 3' }, 4, 0 .. $#row), '--token: the features that tell it best');
is(about_lines(table('--token', '\x203', '-k', 40, 'c.saes')), about(sub { $_[0] eq ' 3' }, 40, 0 .. $#row), 'written with escapes; all of them');
is(about_lines(table('--token-re', '^ [1-3]$', '-k', 40, 'c.saes')), about(sub { $_[0] =~ /^ [1-3]$/ }, 40, 0 .. $#row), '--token-re: of several tokens');
is(about_lines(table('--token', ' 3', '--where', 'doc=1', '-k', 40, 'c.saes')), about(sub { $_[0] eq ' 3' }, 40, grep { $row[$_]{doc} == 1 } 0 .. $#row),
    'among chosen rows');
{
    my ($code, $out, $err) = tool(qw(sae-topk --token none c.saes));
    ok($code == 0 && ($out =~ tr/\n//) == 1 && $err =~ /no row has that token/, 'a token that is nowhere: no lines, and a note');
}
misuse(2, qr/exclude each other/, qw(sae-topk --token a --tokens c.saes));
misuse(2, qr/--token-re: '\(' is not a regular expression/, qw(sae-topk --token-re), '(', 'c.saes');
misuse(2, qr/--counts goes with none of/, qw(sae-topk --counts --distinct c.saes));

# ---- labels ----

file_write('names', "# notes\n3\tthree\n\n9\tn\xc3\xafne\n3\tthe third\n");
is(join('|', map { "$_->{feature}=$_->{label}" } table(qw(--labels names -k 1 -f), '9,3,4', 'c.saes')), "9=n\xc3\xafne|3=the third|4=", '--labels');
for my $mode ([], ['--tokens'], ['--counts'], [ '--token', ' 3' ]) {
    my ($names, $table) = tsv_read(scalar runs('sae-topk', @$mode, qw(--labels names -k 1 c.saes)));
    is("@$names[0, 1]", 'feature label', "@$mode: behind the feature");
    is(scalar(grep { $_->{label} ne ({ 3 => 'the third', 9 => "n\xc3\xafne" }->{ $_->{feature} } // '') } @$table), 0, 'and its own');
}
is(JSON::PP->new->utf8->decode(runs(qw(sae-topk --json --labels names -k 1 -f 4 c.saes)))->{label}, undef, 'none is null in JSON');
file_write('bad', "3\tthree\n12\ttwelve\n");
misuse(3, qr/^sae-topk: bad: line 2: '12' is not a feature from 0 to 11$/m, qw(sae-topk --labels bad c.saes));

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
@json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(sae-topk --json -w 1 bytes));
is_deeply([ map { [ @$_{qw(before token after)} ] } @json ], [ [ '', "\x{fffd}", "\x{fffd}t\x{e9}" ], [ "\x{fffd}", "\x{fffd}t\x{e9}", "\t" ],
    [ "\x{fffd}t\x{e9}", "\t", "a\nb" ], [ "\t", "a\nb", "\\" ], [ "a\nb", "\\", "\x01" ], [ "\\", "\x01", "\x{fffd}" ], [ "\x01", "\x{fffd}", '"' ],
    [ "\x{fffd}", '"', '<<' ], [ '"', '<<', '' ], [ '<<', '', '' ] ], '--json: its own escapes, U+FFFD for a byte of no character');

# Nothing that steers a terminal gets there, and JSON loses nothing.
{
    my $evil = "\xc2\x9b31m\xe2\x80\xae\x7f\xf3\xa0\x80\x81";
    stream_write('evil', 'codes', 1, [ { 0 => 1 } ], text => [$evil], tok => [5]);
    for my $mode ([], ['--values'], ['--tokens'], ['--json']) {
        my $shown = runs('sae-topk', @$mode, 'evil');
        ok($shown !~ /\xc2\x9b|\xe2\x80\xae|\x7f|\xf3\xa0\x80\x81/, "controls do not come through (@$mode)") or diag($shown);
    }
    like(scalar(runs(qw(sae-topk evil))), qr/<<\\xC2\\x9B31m\\xE2\\x80\\xAE\\x7F\\xF3\\xA0\\x80\\x81>>/, 'they are shown as bytes');
    is(JSON::PP->new->utf8->decode(runs(qw(sae-topk --json evil)))->{token}, "\x{9b}31m\x{202e}\x7f\x{e0001}", 'and in JSON as escapes');
}
{
    stream_write('zero', 'codes', 1, [ { 0 => 1 } ], text => ["a\0b"]);
    is(JSON::PP->new->utf8->decode(runs(qw(sae-topk --json zero)))->{token}, "a\0b", 'a zero byte does not end a text');
    like(scalar(runs(qw(sae-topk zero))), qr/<<a\\x00b>>/, 'in a table too');
}

# A token of more than 1000 bytes is cut, between characters.
{
    stream_write('long', 'codes', 1, [ ({ 0 => 1 }) x 3 ], ctx => [ 0, 0, 0 ], pos => [ 0 .. 2 ], tok => [ 1 .. 3 ],
        text => [ 'x' x 1000, "\xc3\xa9" x 5000, 'z' x 1001 ]);
    my @t = table(qw(-w 0 -k 3 long));
    is(join(' ', map { $_->{context} } @t), join(' ', '<<' . 'x' x 1000 . '>>', '<<' . "\xc3\xa9" x 498 . '...>>', '<<' . 'z' x 997 . '...>>'),
        'long tokens are cut');
    is(join(' ', map { length $_->{token} } table(qw(--tokens long))), '1000 999 1000', 'in --tokens too');
}

# ---- small files that would be large in memory, or slow ----

# Run under a limit: of `ulimit`. The BLAS maps memory for each of its threads.
sub limited {
    my ($limit, @command) = @_;
    local $ENV{OPENBLAS_NUM_THREADS} = 1;
    return tool('bash', '-c', "ulimit $limit; exec \"\$@\"", 'bash', @command);
}
SKIP: {
    skip 'a sanitizer maps terabytes', 3 if $ENV{SANITIZE};

    # 64 rows of one context, each a batch with 8 MiB of text: kept whole they are 512 MiB (and 600 of them more than 32 bits).
    my %head = (v => 1, kind => 'codes', d => 4, dtype => 'f32');
    my ($text, $n) = ('a' x (8 << 20), 64);
    my $one = sub {
        my ($i) = @_;
        return stream_bytes(\%head, [ { n => 1, cols => [ [ 'ptr', 'u32', [2], [ 0, 1 ] ], [ 'idx', 'u32', [1], [1] ], [ 'val', 'f32', [1], [1] ],
            [ 'ctx', 'u32', [1], [0] ], [ 'pos', 'u32', [1], [$i] ], [ 'text', 'u8', [ length $text ], \$text ], [ 'text_end', 'u32', [1], [ length $text ] ] ] } ],
            sub { my ($r) = @_; $r->[1]{row} = $i if $r->[0] eq 'B'; @{ $r->[1] }{qw(rows batches nnz)} = ($n) x 3 if $r->[0] eq 'E' });
    };
    my $empty = stream_bytes(\%head, [], sub { my ($r) = @_; @{ $r->[1] }{qw(rows batches nnz)} = ($n) x 3 if $r->[0] eq 'E' });
    my $begin = index $empty, "\x93\xa1E";
    open my $zstd, '|-', 'zstd -q -o large.zst' or die;
    print $zstd substr $empty, 0, $begin;
    for my $i (0 .. $n - 1) {
        my $bytes = $one->($i);
        print $zstd substr $bytes, $begin, length($bytes) - length $empty;
    }
    print $zstd substr $empty, $begin;
    close $zstd or die;
    cmp_ok(-s 'large.zst', '<', 100_000, 'a small file of long texts');
    my ($code, $out, $err) = limited('-v 300000', qw(sae-topk -w 100 -k 64 -f), '0,1', 'large.zst');
    ok($code == 0 && ($out =~ tr/\n//) == $n + 1 && $out =~ /\.\.\.\t64\t1\n/, 'of which only what is shown is kept') or diag("exit code $code: $err");

    # Token numbers that differ in their high bits only, once all in one slot: 12 s for each 65536.
    my @tok = map { $_ << 15 } 0 .. 2**17 - 1;
    stream_write('high', 'codes', 1, [ ({ 0 => 1 }) x @tok ], tok => \@tok, batch => 2**16);
    ($code, $out, $err) = limited('-t 10', qw(sae-topk --tokens -k 2 high));
    ok($code == 0 && $out =~ /^0\t2\t 32768\t32768\t1\t/m, '131072 token numbers without low bits') or diag("exit code $code: $err");
}

# Rows with so many codes that a window of them would be large are refused.
{
    my ($d, $rows) = (2**20, 5);
    my %head = (v => 1, kind => 'codes', d => $d, dtype => 'f32');
    my ($idx, $val) = (pack('V*', 0 .. $d - 1), pack('f<', 1) x $d);
    my $batch = { n => 1, cols => [ [ 'ptr', 'u32', [2], [ 0, $d ] ], [ 'idx', 'u32', [$d], \$idx ], [ 'val', 'f32', [$d], \$val ] ] };
    file_write('dense', stream_bytes(\%head, [ ($batch) x $rows ]));
    misuse(3, qr/^sae-topk: dense: more than 4194304 codes in 21 rows that follow each other: ask for fewer features/, qw(sae-topk -k 1 dense));
    is(scalar(table(qw(-k 1 -f 0-9 dense))), 10, 'a few of them are none');
    is(scalar(grep { $_->{count} != 5 } table(qw(--counts dense))), 0, 'nor is there a window to count them');
}

# Streams without some of the columns.
stream_write('bare', 'codes', 2, [ { 0 => 1 }, { 0 => 2, 1 => 1 } ]);
is(join("\n", lines(table(qw(bare)))), "0|1|2|0|1|<<>>\n0|2|1|0|0|<<>>\n1|1|1|0|1|<<>>", 'no columns at all: the row is the position');
stream_write('ids', 'codes', 1, [ ({ 0 => 1 }) x 3 ], tok => [ 7, 8, 9 ], ctx => [ 0, 0, 0 ], pos => [ 1, 2, 3 ]);
is((split /\t/, (split /\n/, runs(qw(sae-topk ids)))[2])[5], ' 7<< 8>> 9', 'without text: the ids');

done_testing();
