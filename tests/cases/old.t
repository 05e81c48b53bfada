#!/usr/bin/perl
# old: streams of every version of the format stay readable, and mean the same. For each version there is a generator, whose
# bytes must never change, and digests of what is in them.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Digest::SHA qw(sha256_hex);
use RefFiles;
use RefTest;
use Test::More;

# Version 1: all its types and reserved columns, columns of one's own, extensions, unknown records, two sections.
sub version_1 {
    my ($kind, $dtype) = @_;
    my (@batches, $at);
    for my $n (2, 0, 5) {
        my @i = map { $at++ } 1 .. $n;
        my @text = map { (' the', "\n", "\xe2\x82", "\xac", '', ' cat', '.')[ $_ - 1 ] } @i;
        my ($text, $end, @end) = (join('', @text), 0);
        push @end, $end += length for @text;
        my ($ptr, @ptr) = (0, 0);
        push @ptr, $ptr += $_ % 4 for @i;
        my @idx = map { my $i = $_; map { $_ * 2 + $i % 2 } 0 .. $i % 4 - 1 } @i;
        my @numbers = $kind eq 'codes'
            ? ([ 'ptr', 'u32', [ $n + 1 ], \@ptr ], [ 'idx', 'u32', [ 0 + @idx ], \@idx ], [ 'val', $dtype, [ 0 + @idx ], [ map { $_ / 4 } @idx ] ])
            : ([ 'x', $dtype, [ $n, 3 ], [ map { ($_, -$_ / 2, 1 / 8) } @i ] ]);
        push @batches, { n => $n, cols => [ @numbers,
            (map { [ $_, 'u32', [$n], [@i] ] } qw(doc pos tok)), [ 'ctx', 'u32', [$n], [ map { int $_ / 3 } @i ] ],
            [ 'text', 'u8', [ length $text ], \$text ], [ 'text_end', 'u32', [$n], \@end ],
            (map { [ "row.$_", $_, [ $n, 1 ], [@i], 'row' ] } qw(f32 f16 bf16 f64 u8 u16 u32 u64 i32 i64)),
            [ 'all.of_it', 'i32', [ 1, 1, 2, 1 ], [ -5, 5 ] ] ] };
    }
    return stream_bytes({ v => 1, kind => $kind, d => $kind eq 'codes' ? 8 : 3, dtype => $dtype, model => 'small', model_sha => 'aa',
        arch => 'gpt2', hook => 'blocks.0.hook_resid_post', layer => 0, rows => 7, tok => { sha => 'bb', vocab => 99, bos => 0, ctx => 3 },
        proc => { scale => 0.5 }, history => [ { tool => 'act-dump', version => '0.1.0', args => [ '-c', '3' ], in => ['text'] } ],
        'of.nobody' => { list => [ 1, -1, 2.5, undef, JSON::PP::false() ], bin => \"\0\xff", ext => bless([ 7, 'e' ], 'RefFiles::Ext') } },
        \@batches, sub { $_[0][1]{'of.nobody'} = 1 if $_[0][0] ne 'SAES' });
}

# Digests of the bytes of each kind and type; of two sections of them as a table; of all else, through act-cat.
my %digest = (
    'acts f32' => 'a591abb266c0af96f3c90168b61555f352bb4186863956941dedbad80d7e1e67',
    'acts f16' => 'bb808a4bcb72711b32b7bf60ffed7edada25c39960548841af74d682494e0cad',
    'acts bf16' => '04ba157b8ee6098c2834d20282fe0b78618b88d8b011a07cfcada2c307d36704',
    'codes f32' => '40cdfe6530c5a3e0a46ac5fd37212bfb0cd9cad7a1a4de1f8ba716d8ca90b183',
    'codes f16' => '0103c590f9d071ad4335d14deef58a0ee79f7d1b48ca06484ec3ec120c5eb14b',
);
my %table = (acts => 'e24336e9743f705d7ca3631897534d5727a302f30d15a31f7063ba507b494157',
    codes => 'd53e15948ac3c8165246f00efb67214b31f0570f2bba4a8cb08355f6dfcc1c4d');
my $else = 'c8901976c3a212528c0b676e28b7f3fa7aba4a368a90a10ae8c339d1643841fe';
for (sort keys %digest) {
    my ($kind, $type) = split / /;
    my $section = version_1($kind, $type);
    is(sha256_hex($section), $digest{$_}, "version 1, $_: the generator");
    file_write('old', $section . $section);
    is(sha256_hex(scalar runs(qw(act-cat --to tsv old))), $table{$kind}, "version 1, $_: what is in it");
    runs(qw(act-cat --no-history -o new old));
    my $new = stream_read('new')->[0];
    my ($nobody, $other) = ($new->{header}{'of.nobody'}, $new->{other});
    is(sha256_hex(JSON::PP->new->canonical->encode([ "$new->{rows}", "$new->{header}{tok}{ctx}", $nobody->{list},
        [ unpack '(H2)*', ${ $nobody->{bin} } ], [ @{ $nobody->{ext} } ], { map { $_ => unpack 'H*', $other->{$_} } keys %$other } ])),
        $else, "version 1, $_: what act-cat copies");
}
done_testing();
