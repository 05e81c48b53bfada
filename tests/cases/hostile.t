#!/usr/bin/perl
# hostile: files made to hurt. Each is refused with 3 and one line, in little memory (a limit on the address space) and in less
# than a second of the processor.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Compress::Zlib ();
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

$ENV{OPENBLAS_NUM_THREADS} = 1;       # the BLAS's own threads need more room than the limit, and hang where there is none
my $limit = $ENV{SANITIZE} ? '' : 'ulimit -v 300000; ';         # a sanitizer maps terabytes

# Run under the limits; dies of neither. One test.
sub refused {
    my ($name, $regex, @command) = @_;
    my @before = times;
    my ($code, undef, $err) = tool('bash', '-c', "${limit}exec \"\$@\"", 'bash', @command);
    my @after = times;
    my $seconds = $after[2] + $after[3] - $before[2] - $before[3];
    ok($code == 3 && $err =~ /\A$command[0]: [^\n]+\n\z/ && $err =~ $regex && ($limit eq '' || $seconds < 1), $name)
        or diag("exit code $code, $seconds s: $err");
}

sub stream_refused {
    my ($name, $regex, $bytes) = @_;
    file_write('in', $bytes);
    refused($name, $regex, qw(act-cat --check in));
}

# A record whose parts behind the tag are these bytes as they are.
sub raw_record {
    my ($tag, @parts) = @_;
    my $bytes = join '', chr(0x92 + @parts), mp_encode($tag), @parts;
    return $bytes . pack 'CN', 0xce, Compress::Zlib::crc32($bytes);
}

my %acts = (v => 1, kind => 'acts', d => 2, dtype => 'f32');
my %codes = (v => 1, kind => 'codes', d => 8, dtype => 'f32');
my @x = ('x', 'f32', [ 3, 2 ], [ 1 .. 6 ]);
my @ok = ([ 'ptr', 'u32', [4], [ 0, 2, 2, 3 ] ], [ 'idx', 'u32', [3], [ 1, 4, 0 ] ], [ 'val', 'f32', [3], [ 1, 2, 3 ] ]);

sub acts { my ($change) = @_; return stream_bytes({%acts}, [ { n => 3, cols => [ \@x ] } ], $change) }
sub acts_with { return stream_bytes({%acts}, [ { n => 3, cols => [ \@x, @_ ] } ]) }
sub codes { return stream_bytes({%codes}, [ { n => 3, cols => [@_] } ]) }
sub of_tag { my ($tag, $do) = @_; return acts(sub { $do->($_[0]) if $_[0][0] eq $tag }) }

file_write('in', acts());
runs(qw(act-cat --check in));
file_write('in', codes(@ok));
runs(qw(act-cat --check in));

# ---- headers ----

for ([ d => 2**40, 'd 1099511627776' ], [ d => 0, 'd 0' ], [ d => -1, 'd -1' ], [ d => 2**20 + 1, 'd 1048577' ], [ d => '8', 'd 0' ],
    [ d => 1.5, 'd 0' ], [ d => undef, 'd 0' ], [ v => 2, 'version 2' ], [ v => 0, 'version 0' ], [ v => undef, 'version' ],
    [ kind => 'other', "kind 'other'" ], [ kind => undef, 'kind' ], [ kind => [ 1, 2 ], 'kind' ], [ dtype => 'f64', "dtype 'f64'" ],
    [ dtype => 'i8', "dtype 'i8'" ], [ dtype => undef, 'dtype' ]) {
    my ($key, $value, $regex) = @$_;
    stream_refused("header: $key " . ($value // 'nil'), qr/in: record 0: .*\Q$regex\E/,
        of_tag('SAES', sub { $_[0][1]{$key} = $value }));
}

my $deep = mp_encode(1);
$deep = chr(0x91) . $deep for 1 .. 100_000;
my $map = substr mp_encode({%acts}), 1;
my %raw = (
    'a map of 2^32 - 1 entries' => "\xdf\xff\xff\xff\xff",
    'an array of 2^32 - 1 entries' => "\x85${map}\xa1a\xdd\xff\xff\xff\xff",
    'arrays of 65536 entries in each other' => "\x85${map}\xa1a" . "\xdd\x00\x01\x00\x00" x 6,
    'a string of 1 GiB' => "\x85${map}\xa1a\xdb\x40\x00\x00\x00abc",
    'a binary of 4 GiB' => "\x85${map}\xa1a\xc6\xff\xff\xff\xffabc",
    'an extension of 4 GiB' => "\x85${map}\xa1a\xc9\xff\xff\xff\xff\x01abc",
    'a key of 1 GiB' => "\x85${map}\xdb\x40\x00\x00\x00abc",
    '100000 arrays in each other' => "\x85${map}\xa1a$deep",
    'nine levels' => "\x85${map}\xa1a" . "\x91" x 7 . "\x01",
    'more than 1 MiB' => "\x85${map}\xa1a\xdb" . pack('N', 2**20) . 'x' x 2**20,
    '70000 values' => "\x85${map}\xa1a\xdd" . pack('N', 70000) . "\x01" x 70000,
    'a number of 2^53' => "\x85${map}\xa1a\xcf\x00\x20" . "\0" x 6,
    'a number of 2^64 - 1' => "\x85${map}\xa1a\xcf" . "\xff" x 8,
    'NaN' => "\x85${map}\xa1a\xcb\x7f\xf8" . "\0" x 6,
    'a key twice' => "\x86${map}\xa1a\x01\xa1a\x02",
    'a key that is a number' => "\x85${map}\x01\x02",
    'a key with a zero byte' => "\x85${map}\xa2a\0\x02",
    'a key that is not UTF-8' => "\x85${map}\xa1\xff\x02",
    'a string that is not UTF-8' => "\x85${map}\xa1a\xa1\xff",
    'a byte that is not msgpack' => "\x85${map}\xa1a\xc1",
    'an array' => "\x91\x01", 'a number' => "\x07", 'nil' => "\xc0", 'a string' => "\xa1a",
);
stream_refused("header: $_", qr/in: record 0: /, raw_record('SAES', $raw{$_})) for sort keys %raw;
my %legal = ('str 8' => "\xd9\0", 'str 32' => "\xdb\0\0\0\0", 'bin 16' => "\xc5\0\0", 'ext 8' => "\xc7\0\x05",
    'array 32' => "\xdd\0\0\0\0", 'map 16' => "\xde\0\0", 'int 64' => "\xd3" . "\xff" x 8, 'float 32' => "\xca\x3f\x80\0\0",
    'eight levels, the record and the map counted' => "\x91" x 6 . "\x01");
for (sort keys %legal) {                                        # long forms of little are legal
    file_write('in', raw_record('SAES', "\x85${map}\xa1a$legal{$_}") . raw_record('E', mp_encode({ rows => 0, batches => 0 })));
    is((tool(qw(act-cat --check in)))[0], 0, "header: $_ is fine");
}
stream_refused('header: a tag of 1 GiB', qr/not a stream/, "\x93\xdb\x40\x00\x00\x00SAES");
stream_refused('header: 65535 parts', qr/not a stream/, "\xdc\xff\xff\xa4SAES");
stream_refused('header: five bytes', qr/not a stream/, "\x93\xa4SAE");
stream_refused('header: a payload of 4 GiB', qr/larger than/, "\x94\xa4SAES" . "\x84$map" . "\xc6\xff\xff\xff\xff");

# ---- batches ----

sub columns { my ($do) = @_; return of_tag('B', sub { $do->($_[0][1]{cols}) }) }

for ([ n => 2**53 - 1 ], [ n => 2**20 + 1 ], [ n => -1 ], [ n => 2 ], [ n => 4 ], [ n => undef ], [ n => 'three' ], [ row => 1 ],
    [ row => -1 ], [ row => undef ], [ row => 2**52 ], [ cols => undef ], [ cols => 7 ], [ cols => [] ],
    [ cols => [ [@x], [@x] ] ]) {
    my ($key, $value) = @$_;
    stream_refused("batch: $key " . (ref $value ? '[...]' : $value // 'nil'), qr/in: record 1: /,
        of_tag('B', sub { $_[0][1]{$key} = $value }));
}
for ([ 'a name of capitals', [ 'X', 'f32', [ 3, 2 ] ] ], [ 'no name', [ '', 'f32', [ 3, 2 ] ] ],
    [ 'a name of 65 letters', [ 'x' x 65, 'f32', [ 3, 2 ] ] ], [ 'a name with an escape', [ "\e[2J", 'f32', [ 3, 2 ] ] ],
    [ 'a name that is a number', [ 7, 'f32', [ 3, 2 ] ] ], [ 'an unknown type', [ 'x', 'f8', [ 3, 2 ] ] ],
    [ 'no type', ['x'] ], [ 'no shape', [ 'x', 'f32' ] ], [ 'a shape that is a number', [ 'x', 'f32', 6 ] ],
    [ 'a negative shape', [ 'x', 'f32', [ -3, -2 ] ] ], [ 'a shape of fractions', [ 'x', 'f32', [ 1.5, 4 ] ] ],
    [ 'a shape of 2^62', [ 'x', 'f32', [ 2**52, 2**10 ] ] ],
    [ 'a shape whose size is 0 modulo 2^64', [ 'x', 'f32', [ 2**31, 2**31 ] ] ],
    [ 'another whose size is 24 modulo 2^64', [ 'x', 'f32', [ 2**32, 2**32 ] ] ],
    [ 'too many dimensions', [ 'x', 'f32', [ 3, 2, 1, 1, 1 ] ] ], [ 'no dimension', [ 'x', 'f32', [] ] ],
    [ 'another width', [ 'x', 'f32', [ 2, 3 ] ] ], [ 'more than there is', [ 'x', 'f32', [ 3, 3 ] ] ],
    [ 'another type', [ 'x', 'u32', [ 3, 2 ] ] ], [ 'a flat shape', [ 'x', 'f32', [6] ] ], [ 'a column that is none', 7 ],
    [ 'an empty column', [] ]) {
    my ($name, $column) = @$_;
    stream_refused("column: $name", qr/in: record 1: /, columns(sub { $_[0][0] = $column }));
}
for ([ 'doc of another type', [ 'doc', 'i32', [3], [ 1, 2, 3 ] ] ], [ 'doc of another length', [ 'doc', 'u32', [2], [ 1, 2 ] ] ],
    [ 'pos as a matrix', [ 'pos', 'u32', [ 3, 1 ], [ 1, 2, 3 ] ] ], [ 'a column twice', \@x ],
    [ 'rows that are not the batch\'s', [ 'mine', 'u8', [2], [ 1, 2 ], 'row' ] ],
    [ 'rows of no dimension', [ 'mine', 'u8', [], [1], 'row' ] ],
    [ 'text without ends', [ 'text', 'u8', [3], [ 65, 66, 67 ] ] ], [ 'ends without text', [ 'text_end', 'u32', [3], [ 1, 2, 3 ] ] ],
    [ 'acts with codes', @ok ]) {
    my ($name, @columns) = @$_;
    stream_refused("acts: $name", qr/in: record 1: /, acts_with(@columns));
}
for ([ 'falling', 1, 0, 3 ], [ 'beyond', 1, 2, 4 ], [ 'short of it', 1, 2, 2 ], [ 'of 2^32 - 1', 1, 2, 2**32 - 1 ]) {
    my ($name, @end) = @$_;
    stream_refused("text: ends $name", qr/in: record 1: column text/,
        acts_with([ 'text', 'u8', [3], \'abc' ], [ 'text_end', 'u32', [3], \@end ]));
}
my $codes = sub {
    my ($ptr, $idx, $val) = @_;
    return codes([ 'ptr', 'u32', [ scalar @$ptr ], $ptr ], [ 'idx', 'u32', [ scalar @$idx ], $idx ],
        [ 'val', 'f32', [ scalar @$val ], $val ]);
};
for ([ 'ptr not from 0', [ 1, 2, 2, 3 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ], [ 'ptr short of it', [ 0, 2, 2, 2 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ],
    [ 'ptr beyond', [ 0, 2, 2, 4 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ], [ 'ptr falling', [ 0, 3, 2, 3 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ],
    [ 'ptr beyond in the middle', [ 0, 2**32 - 1, 2, 3 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ],
    [ 'ptr too short', [ 0, 2, 3 ], [ 1, 4, 0 ], [ 1, 2, 3 ] ], [ 'idx not below d', [ 0, 2, 2, 3 ], [ 1, 8, 0 ], [ 1, 2, 3 ] ],
    [ 'idx of 2^32 - 1', [ 0, 2, 2, 3 ], [ 1, 2**32 - 1, 0 ], [ 1, 2, 3 ] ], [ 'idx falling', [ 0, 2, 2, 3 ], [ 4, 1, 0 ], [ 1, 2, 3 ] ],
    [ 'idx twice', [ 0, 2, 2, 3 ], [ 4, 4, 0 ], [ 1, 2, 3 ] ], [ 'fewer val than idx', [ 0, 2, 2, 3 ], [ 1, 4, 0 ], [ 1, 2 ] ],
    [ 'more val than idx', [ 0, 2, 2, 3 ], [ 1, 4, 0 ], [ 1 .. 4 ] ]) {
    my ($name, @parts) = @$_;
    stream_refused("codes: $name", qr/in: record 1: /, $codes->(@parts));
}
stream_refused('codes: no ' . (qw(ptr idx val))[$_], qr/in: record 1: codes without/, codes(@ok[ grep { $_ != $::skip } 0 .. 2 ]))
    for grep { $::skip = $_; 1 } 0 .. 2;
{
    my $zeros = "\0" x 4 x (2**22 + 1);
    my $idx = join '', map { pack 'L<*', $_ * 4096 .. $_ * 4096 + 4095 } 0 .. 1023;
    $idx .= pack 'L<', 2**22;
    file_write('in', stream_bytes({ %codes, d => 2**20 }, [ { n => 1, cols => [
        [ 'ptr', 'u32', [2], [ 0, 2**22 + 1 ] ], [ 'idx', 'u32', [ 2**22 + 1 ], \$idx ],
        [ 'val', 'f32', [ 2**22 + 1 ], \$zeros ] ] } ]));
    refused('codes: more than 2^22 pairs', qr/4194305 pairs/, qw(act-cat --check in));
}

my $header = raw_record('SAES', mp_encode({%acts}));
my $meta = mp_encode({ n => 3, row => 0, cols => [ [@x[ 0 .. 2 ]] ] });
stream_refused('batch: 4 GiB announced', qr/larger than/, "$header\x94\xa1B$meta\xc6\xff\xff\xff\xffabc");
stream_refused('batch: 60 MiB announced, 3 bytes there', qr/cut short/, "$header\x94\xa1B$meta\xc6\x03\xc0\x00\x00abc");
stream_refused('batch: a payload that is a string', qr/not binary/, "$header\x94\xa1B$meta\xa3abc");
stream_refused('batch: 68 parts', qr/68 parts/, "$header\xdc\x00\x44\xa1B$meta");
stream_refused('batch: 2 parts', qr/2 parts/, "$header\x92\xa1B");
stream_refused('batch: a map of more than 64 KiB', qr/map larger/,
    $header . raw_record('B', "\x81\xa1a\xda\xff\xff" . 'x' x 65535, "\xc4\0"));
stream_refused('batch: a tag of 16 bytes', qr/not a record/, $header . raw_record('x' x 16, "\x80"));
stream_refused('batch: crc as another number', qr/checksum/, substr($header, 0, -5) . "\xd2" . substr $header, -4);

# ---- ends ----

for ([ rows => 4 ], [ rows => -1 ], [ rows => undef ], [ batches => 2 ], [ batches => undef ], [ rows => 2**52 ]) {
    my ($key, $value) = @$_;
    stream_refused("end: $key " . ($value // 'nil'), qr/in: record 2: the end record/, of_tag('E', sub { $_[0][1]{$key} = $value }));
}
stream_refused('end: nnz', qr/the end record/,
    stream_bytes({%codes}, [ { n => 3, cols => \@ok } ], sub { $_[0][1]{nnz} = 4 if $_[0][0] eq 'E' }));
stream_refused("sections: another $_->[0]", qr/record 3: a section of/, acts() . stream_bytes({ %acts, @$_ }, []))
    for [ d => 3 ], [ dtype => 'f16' ], [ kind => 'codes' ];
stream_refused('sections: another hook', qr/record 3: a section of/,
    stream_bytes({ %acts, hook => 'hook_embed' }, [ { n => 3, cols => [ \@x ] } ]) . stream_bytes({ %acts, hook => 'logits' }, []));

# ---- zstd ----

sub packed { my ($bytes, @options) = @_; file_write('raw', $bytes); system('zstd', qw(-q -f -o in.zst), @options, 'raw') and die; unlink 'raw' }

packed($header . raw_record('B', $meta, "\xc6\x04\x40\x00\x00" . "\0" x 0x4400000));
refused('a bomb: a record of 68 MiB in ' . (-s 'in.zst') . ' bytes', qr/larger than/, qw(act-cat --check in.zst));
packed("\0" x 2**27);
refused('a bomb: 128 MiB of zeros', qr/not a stream/, qw(act-cat --check in.zst));
packed($header . "\0" x 2**27);
refused('a bomb behind a header', qr/not a record/, qw(act-cat --check in.zst));
file_write('in.zst', "\x28\xb5\x2f\xfd\x00\xb8" . "\0" x 100);              # window of 2^33 bytes
refused('a window of 8 GiB', qr/zstd/, qw(act-cat --check in.zst));
file_write('in.zst', "\x28\xb5\x2f\xfd\x00\x90" . "\0" x 100);
refused('a window of 256 MiB', qr/damaged zstd data/, qw(act-cat --check in.zst));
file_write('in.zst', "\x50\x2a\x4d\x18\xff\xff\xff\xff" . 'x' x 100);
refused('a skippable frame of 4 GiB', qr/zstd data cut short/, qw(act-cat --check in.zst));
file_write('in.zst', "\x50\x2a\x4d\x18\x02\x00\x00\x00xx");
refused('nothing but a skippable frame', qr/empty/, qw(act-cat --check in.zst));

# ---- endless and other files ----

refused('/dev/zero as a stream', qr/not a stream/, qw(act-cat /dev/zero));
refused('/dev/zero as .npy', qr/not an npy file/, qw(act-cat --from npy /dev/zero));
for ([ 'a shape of 2^63', "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 8), }" ],
    [ 'a shape of 2^100', "{'descr': '<f4', 'fortran_order': False, 'shape': (1267650600228229401496703205376, 8), }" ],
    [ 'rows of 2^40', "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1099511627776), }" ],
    [ 'rows of 0', "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }" ],
    [ 'one dimension', "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }" ],
    [ 'whole numbers', "{'descr': '<i8', 'fortran_order': False, 'shape': (3, 2), }" ],
    [ 'columns first', "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }" ],
    [ 'no end', "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2" ], [ 'nested', '(' x 60000 ]) {
    my ($name, $text) = @$_;
    file_write('in.npy', "\x93NUMPY\x01\x00" . pack('S<', length $text) . $text);
    refused(".npy: $name", qr/in\.npy: /, qw(act-cat --from npy in.npy));
}
file_write('in.npy', "\x93NUMPY\x02\x00\xff\xff\xff\xff{");
refused('.npy: a header of 4 GiB', qr/in\.npy: /, qw(act-cat --from npy in.npy));
my $large = "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 1000), }\n";
file_write('in.npy', "\x93NUMPY\x01\x00" . pack('S<', length $large) . $large);
refused('.npy: 400 MB announced, nothing there', qr/in\.npy: cut short/, qw(act-cat --from npy in.npy));

# ---- a legal header that asks for much ----

file_write('in', stream_bytes({ %codes, d => 2**20 }, [ { n => 3, cols => [ @ok, [ 'tok', 'u32', [3], [ 1, 2**32 - 1, 2**31 ] ] ] } ]));
for my $command ([ qw(sae-topk --tokens -f), '0,1,4', 'in' ], [qw(sae-topk in)], [qw(act-cat --to tsv in)]) {
    my ($code, $out) = tool('bash', '-c', "${limit}exec \"\$@\"", 'bash', @$command);
    ok($code == 0 && ($out =~ tr/\n//) == 4, "@$command: a million features, tokens up to 2^32 - 1") or diag("exit code $code");
}

# ---- dictionaries ----

srand 3;
sae_write('s.sae', sae_random('tied', 8, 16));
$ENV{OPENBLAS_NUM_THREADS} = 1;                                 # the BLAS maps memory for each
runs(qw(sae-cossim s.sae));
for ([ 'a header of 2^63', "\0" x 7 . "\x80" . '{}' ], [ 'a header beyond the file', pack('Q<', 1000) . '{}' ],
    [ 'a header of 99 MB', pack('Q<', 99_000_000) . '{}' ], [ 'no header', pack('Q<', 0) ], [ 'three bytes', 'abc' ],
    [ 'text', 'a text that is not a dictionary at all' ], [ 'an array', pack('Q<', 2) . '[]' ],
    [ '100000 brackets', pack('Q<', 100_005) . '{"a":' . '[' x 100_000 ],
    [ 'two million values', pack('Q<', 4_000_007) . '{"a":[' . '1,' x 2_000_000 . '1' ],
    [ 'a shape of 2^62', undef, '{"W_dec":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}' ],
    [ 'a shape whose size is 0 modulo 2^64', undef, '{"W_dec":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}' ],
    [ 'data beyond the file', undef, '{"W_dec":{"dtype":"F32","shape":[2,2],"data_offsets":[0,9000000000]}}' ],
    [ 'data backwards', undef, '{"W_dec":{"dtype":"F32","shape":[2,2],"data_offsets":[16,0]}}' ],
    [ 'nothing of a dictionary', undef, '{}', '' ]) {
    my ($name, $bytes, $json) = @$_;
    file_write('in.sae', $bytes // pack('Q<', length $json) . $json . "\0" x ($name =~ /nothing|modulo/ ? 0 : 16));
    refused("dictionary: $name", qr/in\.sae: /, qw(sae-cossim in.sae));
}

done_testing();
