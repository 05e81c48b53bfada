#!/usr/bin/perl
# sae: sae-encode, sae-patch, sae-topk and sae-cossim on generated dictionaries and activations, against the formulas
# worked out in double precision by other code (tests/ref/SaeRef.pm).
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

use constant { TOL => 1e-5, M => 64 };

my @lengths = (9, 1, 14, 30, 2, 11, 53);                        # contexts; two to a document
my (@doc, @ctx, @pos, @tok, @text);
for my $c (0 .. $#lengths) {
    push @doc, (int $c / 2) x $lengths[$c];
    push @ctx, ($c) x $lengths[$c];
    push @pos, 1 .. $lengths[$c];
}
@tok = map { (7 * $_ + 3) % 11 } 0 .. $#pos;
@text = map { ' w' . chr(97 + $_) } @tok;
my %columns = (doc => \@doc, ctx => \@ctx, pos => \@pos, tok => \@tok, text => \@text);

sub read_one {
    my ($path) = @_;
    my $sections = eval { stream_read($path) };
    fail("$path: $@") if !$sections;
    return $sections ? $sections->[0] : { header => {}, x => [], codes => [], map { $_ => [] } keys %columns };
}

# The table a command prints; an empty one if it is none.
sub table {
    my @table = eval { tsv_read(runs(@_)) };
    fail("table: $@") if !@table;
    return @table ? @table : ([], []);
}

sub carried {
    my ($s, $name) = @_;
    is_deeply({ map { $_ => $s->{$_} } keys %columns }, \%columns, "$name: doc, ctx, pos, tok and text travel along");
}

# ---- encode, decode, error ----

sub check_codes {
    my ($s, $rows, @args) = @_;
    my $want = sae_encode($s, $rows);
    runs('sae-encode', @args, '-o', 'codes.saes', 'a.sae', 'acts.saes');
    my $codes = read_one('codes.saes');
    near_rows(dense_rows($codes->{codes}, M), dense_rows($want, M), TOL, "$s->{kind}: codes");
    is("@{$codes->{header}}{qw(kind d dtype)}", 'codes ' . M . ' f32', "$s->{kind}: header of codes");
    my $mean = 0;
    $mean += keys(%$_) / @$want for @$want;
    cmp_ok($mean, '>', 5, "$s->{kind}: the test has codes");
    carried($codes, 'sae-encode');
    return $codes;
}

sub check_coding {
    my ($s, $rows) = @_;
    my $codes = check_codes($s, $rows);
    runs(qw(sae-encode -d -o hat.saes a.sae codes.saes));
    my $hat = read_one('hat.saes');
    near_rows($hat->{x}, sae_decode($s, $codes->{codes}), TOL, "$s->{kind}: decode");
    carried($hat, 'sae-encode -d');
    runs(qw(sae-encode --error -o error.saes a.sae acts.saes));
    my $error = read_one('error.saes');
    near_rows($error->{x}, sae_error($s, $rows), TOL, "$s->{kind}: error");
    carried($error, 'sae-encode --error');
    runs(qw(sae-encode --min 0.5 -o big.saes a.sae acts.saes));
    my @big = map { +{%$_} } @{ $codes->{codes} };
    for my $row (@big) {
        delete $row->{$_} for grep { $row->{$_} <= 0.5 } keys %$row;
    }
    is_deeply(read_one('big.saes')->{codes}, \@big, "$s->{kind}: --min drops what is at or below");
}

# ---- patch ----

sub check_patch {
    my ($s, $rows) = @_;
    my @mean = (0) x M;
    for my $row (@{ sae_encode($s, $rows) }) {
        $mean[$_] += $row->{$_} / @$rows for keys %$row;
    }
    runs(qw(sae-encode -o codes.saes a.sae acts.saes));
    my @all = 0 .. M - 1;
    my @edits = (
        [ [ 'zero 5' ], [ 'zero', [5] ] ],
        [ [ 'zero 3,9,40' ], [ 'zero', [ 3, 9, 40 ] ] ],
        [ [ 'zero 10-20' ], [ 'zero', [ 10 .. 20 ] ] ],
        [ [ 'zero all' ], [ 'zero', \@all ] ],
        [ [ 'set 7 2.5' ], [ 'set', [7], 2.5 ] ],
        [ [ 'set 0-3 -0.75' ], [ 'set', [ 0 .. 3 ], -0.75 ] ],
        [ [ 'scale all 0.5' ], [ 'scale', \@all, 0.5 ] ],
        [ [ 'scale 2,4 -3' ], [ 'scale', [ 2, 4 ], -3 ] ],
        [ [ 'add 11 1.25' ], [ 'add', [11], 1.25 ] ],
        [ [ 'keep 1,6,30' ], [ 'keep', [ 1, 6, 30 ] ] ],
        [ [ 'mean 8-12 codes.saes' ], [ 'mean', [ 8 .. 12 ], \@mean ] ],
        [ [ 'add 5 1', 'scale 5 2', 'set 9 1', 'zero 9-11' ],
            [ 'add', [5], 1 ], [ 'scale', [5], 2 ], [ 'set', [9], 1 ], [ 'zero', [ 9 .. 11 ] ] ],
    );
    for (@edits) {
        my ($text, @edit) = @$_;
        my @args = map { ('-e', $_) } @$text;
        patched($s, $rows, \@edit, undef, 0, @args);
        patched($s, $rows, \@edit, undef, 1, @args, '--replace');
    }
    patched($s, $rows, [], undef, 1, '--replace');
    file_write('edits', "zero 5\nset 7 2.5\n");
    patched($s, $rows, [ [ 'zero', [5] ], [ 'set', [7], 2.5 ] ], undef, 0, '-f', 'edits');
    my @last = map { $_ == $#ctx || $ctx[$_] != $ctx[ $_ + 1 ] } 0 .. $#ctx;
    my @edit = [ 'add', [11], 2 ];
    patched($s, $rows, \@edit, sub { $pos[ $_[0] ] == 3 }, 0, qw(-e), 'add 11 2', qw(--at 3));
    patched($s, $rows, \@edit, sub { $pos[ $_[0] ] >= 2 && $pos[ $_[0] ] <= 6 }, 0, qw(-e), 'add 11 2', qw(--at 2:6));
    patched($s, $rows, \@edit, sub { $last[ $_[0] ] }, 0, qw(-e), 'add 11 2', qw(--at last));
    patched($s, $rows, \@edit, sub { $text[ $_[0] ] eq ' wd' }, 0, qw(-e), 'add 11 2', '--token', ' wd');
}

sub patched {
    my ($s, $rows, $edits, $where, $replace, @args) = @_;
    runs('sae-patch', '-q', @args, qw(-o out.saes a.sae acts.saes));
    my $out = read_one('out.saes');
    near_rows($out->{x}, sae_patch($s, $rows, $edits, $where, $replace), TOL, "$s->{kind}: sae-patch @args");
    carried($out, 'sae-patch');
}

# What the pages promise beyond the formulas.
sub check_promises {
    my ($s, $rows) = @_;
    for my $type (qw(f32 f16 bf16)) {
        stream_write('typed.saes', 'acts', $s->{d}, $rows, %columns, dtype => $type);
        runs(qw(sae-patch -o same.saes a.sae typed.saes));
        is_deeply(read_one('same.saes')->{x}, read_one('typed.saes')->{x},
            "sae-patch without an edit: rows of $type as they were");
        runs(qw(sae-encode -z -o codes.saes.zst a.sae typed.saes));
        near_rows(dense_rows(read_one('codes.saes.zst')->{codes}, M),
            dense_rows(sae_encode($s, read_one('typed.saes')->{x}), M), TOL, "sae-encode of rows of $type, to zstd");
    }
    system 'cat acts.saes acts.saes >two.saes';
    runs(qw(sae-encode -o codes.saes a.sae two.saes));
    my $two = eval { stream_read('codes.saes') } // [];
    is(scalar @$two, 2, 'two sections in, two out');
    return if $s->{kind} ne 'tied';
    runs(qw(sae-patch -q -e), 'zero 5', qw(-o out.saes a.sae acts.saes));
    runs(qw(sae-encode -o codes.saes a.sae out.saes));
    my @left = grep { ($_->{5} // 0) > TOL } @{ read_one('codes.saes')->{codes} };
    is(scalar @left, 0, 'a tied feature, once zeroed, is encoded to 0');
}

# ---- top contexts ----

sub letters { return join('', @_) =~ s/[^a-z]//gr }

sub check_topk {
    my ($s, $rows) = @_;
    runs(qw(sae-encode -o codes.saes a.sae acts.saes));
    my $codes = read_one('codes.saes')->{codes};
    my ($names, $table) = table(qw(sae-topk -k 4 -w 2 codes.saes));
    is("@$names[0 .. 5]", 'feature rank value doc pos context', 'sae-topk: names of the columns');
    my %got;
    push @{ $got{ $_->{feature} } }, $_ for @$table;
    my ($bad, $some) = (0, 0);
    for my $f (0 .. M - 1) {
        my @want = @{ codes_top($codes, $f) };
        $#want = 3 if @want > 4;
        my @have = @{ $got{$f} // [] };
        $bad++ if "@{[ map { $_->{rank} } @have ]}" ne "@{[ 1 .. @want ]}";
        for (0 .. $#want) {
            my ($row, $value) = @{ $want[$_] };
            my $h = $have[$_] // next;
            $bad++ if abs($h->{value} - $value) > TOL * abs $value || $h->{doc} != $doc[$row] || $h->{pos} != $pos[$row];
            my @near = grep { $_ >= 0 && $_ <= $#ctx && $ctx[$_] == $ctx[$row] } $row - 2 .. $row + 2;
            $bad++ if letters($h->{context}) ne letters(@text[@near]);
            $some++;
        }
    }
    is($bad, 0, "sae-topk: all of $some contexts are those that brute force finds");
    my (undef, $few) = table(qw(sae-topk -k 2 -f), '3,17', 'codes.saes');
    is(join(' ', map { "$_->{feature}.$_->{rank}" } @$few), '3.1 3.2 17.1 17.2', 'sae-topk -f');
}

# ---- cosines ----

sub check_cossim {
    my ($s, $other) = @_;
    sae_write('b.sae', $other);
    for ([ 'within', $s, 1, 'a.sae' ], [ 'between', $other, 0, 'a.sae', 'b.sae' ]) {
        my ($name, $b, $same, @files) = @$_;
        my $ranks = cosine_ranks(cosines($s->{dec}, $b->{dec}), $same);
        my ($names, $table) = table('sae-cossim', '-k', '1,10', @files);
        is("@$names", 'feature cos_1 nearest_1 cos_10 nearest_10', "sae-cossim $name: names of the columns");
        near_rows([ map { [ @$_{qw(feature cos_1 cos_10)} ] } @$table ],
            [ map { [ $_, $ranks->[$_][0][0], $ranks->[$_][9][0] ] } 0 .. M - 1 ], 1e-6, "sae-cossim $name: cosines");
        is(join(' ', map { "$_->{nearest_1}.$_->{nearest_10}" } @$table),
            join(' ', map { "$_->[0][1].$_->[9][1]" } @$ranks), "sae-cossim $name: features");
    }
    my (undef, $self) = table(qw(sae-cossim -k 1 a.sae a.sae));
    is(join(' ', map { $_->{nearest_1} } @$self), join(' ', 0 .. M - 1), 'sae-cossim A A: each feature is nearest to itself');
    is(scalar(grep { abs($_->{cos_1} - 1) > 1e-6 } @$self), 0, 'sae-cossim A A: at a cosine of 1');
}

for ([ 'tied', 16 ], [ 'relu', 48 ], [ 'relu', 33 ]) {
    my ($kind, $d) = @$_;
    srand $d;
    my $s = sae_random($kind, $d, M);
    sae_write('a.sae', $s);
    my $rows = random_rows(scalar @pos, $d, 1);
    stream_write('acts.saes', 'acts', $d, $rows, %columns, batch => 37, header => { hook => 'blocks.0.mlp.hook_post' });
    check_coding($s, $rows);
    check_patch($s, $rows);
    check_promises($s, $rows);
    check_topk($s, $rows);
    check_cossim($s, sae_random($kind, $d, M));
}
done_testing();
