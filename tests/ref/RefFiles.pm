package RefFiles;
# RefFiles: readers and writers of the files the tools read and write, independent of lib/: msgpack, SAES streams
# (saes(5)), safetensors, .npy, tables. Only core Perl, and the zstd command for compressed streams. Numbers are
# Perl's doubles; a matrix is a reference to a list of rows, each a reference to a list. Whatever is not as the format
# says dies with a sentence.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use B ();
use Compress::Zlib ();
use Exporter 'import';
use JSON::PP ();
use POSIX ();

our @EXPORT = qw(file_read file_write bytes_pack bytes_unpack round_to
    mp_encode mp_decode stream_parse stream_read stream_write stream_bytes zstd_frames
    st_read st_flat st_rows st_write npy_read npy_write zip_read tsv_read);

sub file_read {
    my ($path) = @_;
    open my $in, '<:raw', $path or die "$path: $!\n";
    local $/;
    my $bytes = <$in> // '';
    close $in or die "$path: $!\n";
    return $bytes;
}

sub file_write {
    my ($path, $bytes) = @_;
    open my $out, '>:raw', $path or die "$path: $!\n";
    print $out $bytes;
    close $out or die "$path: $!\n";
}

# ---- numbers ----

my %SIZE = (f16 => 2, bf16 => 2, f32 => 4, f64 => 8, u8 => 1, u16 => 2, u32 => 4, u64 => 8, i32 => 4, i64 => 8);
my %PACK = (f32 => 'f<', f64 => 'd<', u8 => 'C', u16 => 'S<', u32 => 'L<', u64 => 'Q<', i32 => 'l<', i64 => 'q<');

# The value of a 16-bit IEEE float, from its sign, exponent and fraction.
sub f16_value {
    my ($bits) = @_;
    my ($sign, $exp, $frac) = ($bits >> 15 ? -1 : 1, $bits >> 10 & 31, $bits & 1023);
    return $frac ? 9**9**9 - 9**9**9 : $sign * 9**9**9 if $exp == 31;
    return $sign * ($exp ? (1024 + $frac) * 2**($exp - 25) : $frac * 2**-24);
}

my @f16_table;
sub f16_table {
    @f16_table = map { f16_value($_) } 0 .. 65535 if !@f16_table;
    return \@f16_table;
}

# To the nearest integer, ties to the even one.
sub nearest_even {
    my ($x) = @_;
    my $low = POSIX::floor($x);
    my $over = $x - $low;
    return $over > 0.5 || ($over == 0.5 && $low % 2) ? $low + 1 : $low;
}

# The bits of the nearest 16-bit IEEE float.
sub f16_bits {
    my ($x) = @_;
    return 0x7e00 if $x != $x;
    my ($sign, $size) = ($x < 0 ? 0x8000 : 0, abs $x);
    return $sign | 0x7c00 if $size >= 65520;
    return $sign | nearest_even($size * 2**24) if $size < 2**-14;
    my ($frac, $exp) = POSIX::frexp($size);                        # size = frac 2^exp, frac in [1/2, 1)
    return $sign | (($exp + 14) << 10) + nearest_even($frac * 2048) - 1024;
}

# The upper half of the float, rounded to nearest even.
sub bf16_bits {
    my $bits = unpack 'L<', pack 'f<', $_[0];
    return $_[0] != $_[0] ? 0x7fc0 : ($bits + 0x7fff + ($bits >> 16 & 1)) >> 16;
}

# Bytes of a list of numbers in one of the stream's types, and back.
sub bytes_pack {
    my ($type, $list) = @_;
    return pack 'S<*', map { f16_bits($_) } @$list if $type eq 'f16';
    return pack 'S<*', map { bf16_bits($_) } @$list if $type eq 'bf16';
    return pack(($PACK{$type} // die "no type '$type'\n") . '*', @$list);
}

sub bytes_unpack {
    my ($type, $bytes) = @_;
    return [ @{ f16_table() }[ unpack 'S<*', $bytes ] ] if $type eq 'f16';
    return [ unpack 'f<*', pack 'L<*', map { $_ << 16 } unpack 'S<*', $bytes ] if $type eq 'bf16';
    return [ unpack(($PACK{$type} // die "no type '$type'\n") . '*', $bytes) ];
}

# A list of numbers as they are after being stored in a type.
sub round_to {
    my ($type, $list) = @_;
    return bytes_unpack($type, bytes_pack($type, $list));
}

sub rows_of {
    my ($list, $width) = @_;
    return [ map { [ @$list[ $_ * $width .. ($_ + 1) * $width - 1 ] ] } 0 .. @$list / $width - 1 ] if $width;
    return [];
}

# ---- msgpack: nil, booleans, numbers, strings, arrays, maps; binary strings are references to strings, extensions
# [ type, bytes ] blessed as RefFiles::Ext ----

sub mp_encode {
    my ($v) = @_;
    return "\xc0" if !defined $v;
    return $v ? "\xc3" : "\xc2" if JSON::PP::is_bool($v);
    return mp_head($$v, 0xc4, 0xc5, 0xc6) . $$v if ref $v eq 'SCALAR';
    return mp_extension(@$v) if ref $v eq 'RefFiles::Ext';
    return (@$v < 16 ? chr(0x90 | @$v) : pack 'Cn', 0xdc, scalar @$v) . join '', map { mp_encode($_) } @$v
        if ref $v eq 'ARRAY';
    return (keys %$v < 16 ? chr(0x80 | keys %$v) : pack 'Cn', 0xde, scalar keys %$v)
        . join '', map { mp_encode("$_") . mp_encode($v->{$_}) } sort keys %$v if ref $v eq 'HASH';
    return (length $v < 32 ? chr(0xa0 | length $v) : mp_head($v, 0xd9, 0xda, 0xdb)) . $v
        if (B::svref_2object(\$v)->FLAGS & (B::SVf_POK | B::SVf_IOK)) == B::SVf_POK;    # a count of 0 has both flags
    return pack 'Cd>', 0xcb, $v if $v != int $v || abs $v >= 2**53;
    return pack 'Cq>', 0xd3, $v if $v < -32;
    return pack 'c', $v if $v < 128;
    return $v < 256 ? pack('CC', 0xcc, $v) : $v < 65536 ? pack('Cn', 0xcd, $v)
        : $v < 2**32 ? pack('CN', 0xce, $v) : pack('CQ>', 0xcf, $v);
}

my %MP_FIXED = (1 => 0xd4, 2 => 0xd5, 4 => 0xd6, 8 => 0xd7, 16 => 0xd8);

sub mp_extension {
    my ($type, $bytes) = @_;
    my $fixed = $MP_FIXED{ length $bytes };
    return ($fixed ? chr $fixed : mp_head($bytes, 0xc7, 0xc8, 0xc9)) . pack('c', $type) . $bytes;
}

sub mp_head {
    my ($bytes, $one, $two, $four) = @_;
    my $n = length $bytes;
    return $n < 256 ? pack('CC', $one, $n) : $n < 65536 ? pack('Cn', $two, $n) : pack('CN', $four, $n);
}

my %MP_NUMBER = (0xca => [ 'f>', 4 ], 0xcb => [ 'd>', 8 ], 0xcc => [ 'C', 1 ], 0xcd => [ 'n', 2 ], 0xce => [ 'N', 4 ],
    0xcf => [ 'Q>', 8 ], 0xd0 => [ 'c', 1 ], 0xd1 => [ 's>', 2 ], 0xd2 => [ 'l>', 4 ], 0xd3 => [ 'q>', 8 ]);
my %MP_LENGTH = (0xc4 => [ 'bin', 'C', 1 ], 0xc5 => [ 'bin', 'n', 2 ], 0xc6 => [ 'bin', 'N', 4 ],
    0xc7 => [ 'ext', 'C', 1 ], 0xc8 => [ 'ext', 'n', 2 ], 0xc9 => [ 'ext', 'N', 4 ], 0xd9 => [ 'str', 'C', 1 ], 0xda => [ 'str', 'n', 2 ], 0xdb => [ 'str', 'N', 4 ],
    0xdc => [ 'array', 'n', 2 ], 0xdd => [ 'array', 'N', 4 ], 0xde => [ 'map', 'n', 2 ], 0xdf => [ 'map', 'N', 4 ]);

sub mp_take {
    my ($bytes, $pos, $n) = @_;
    die "msgpack: cut short\n" if $$pos + $n > length $$bytes;
    $$pos += $n;
    return substr $$bytes, $$pos - $n, $n;
}

# Decode one value of $$bytes at $$pos, which moves behind it. Numbers stay numbers, strings strings.
sub mp_decode {
    my ($bytes, $pos, $depth) = @_;
    die "msgpack: nested too deeply\n" if ($depth //= 0) > 8;
    my $c = ord mp_take($bytes, $pos, 1);
    return $c if $c < 0x80;
    return $c - 256 if $c >= 0xe0;
    return undef if $c == 0xc0;
    return $c == 0xc3 ? JSON::PP::true() : JSON::PP::false() if $c == 0xc2 || $c == 0xc3;
    if (my $f = $MP_NUMBER{$c}) {
        return unpack $f->[0], mp_take($bytes, $pos, $f->[1]);
    }
    if ($c >= 0xd4 && $c <= 0xd8) {
        return bless [ unpack('c', mp_take($bytes, $pos, 1)), mp_take($bytes, $pos, 1 << $c - 0xd4) ], 'RefFiles::Ext';
    }
    my ($what, $n) = $c < 0x90 ? ('map', $c & 15) : $c < 0xa0 ? ('array', $c & 15) : $c < 0xc0 ? ('str', $c & 31) : ();
    if (!$what) {
        my $f = $MP_LENGTH{$c} or die sprintf "msgpack: byte %02x is not used here\n", $c;
        ($what, $n) = ($f->[0], unpack $f->[1], mp_take($bytes, $pos, $f->[2]));
    }
    return mp_take($bytes, $pos, $n) if $what eq 'str';
    return \(my $bin = mp_take($bytes, $pos, $n)) if $what eq 'bin';
    return bless [ unpack('c', mp_take($bytes, $pos, 1)), mp_take($bytes, $pos, $n) ], 'RefFiles::Ext' if $what eq 'ext';
    return [ map { mp_decode($bytes, $pos, $depth + 1) } 1 .. $n ] if $what eq 'array';
    my %map;
    for (1 .. $n) {
        my $key = mp_decode($bytes, $pos, $depth + 1);
        die "msgpack: a map's key is not a string\n" if !defined $key || ref $key;
        die "msgpack: key '$key' twice in a map\n" if exists $map{$key};
        $map{$key} = mp_decode($bytes, $pos, $depth + 1);
    }
    return \%map;
}

# ---- streams ----

sub record_bytes {
    my ($tag, $meta, @bins) = @_;
    my $parts = 3 + @bins;
    my $head = ($parts < 16 ? chr(0x90 | $parts) : pack 'Cn', 0xdc, $parts) . mp_encode($tag) . mp_encode($meta);
    my $bytes = join '', $head, map { mp_head($_, 0xc4, 0xc5, 0xc6), $_ } @bins;
    return $bytes . pack 'CN', 0xce, Compress::Zlib::crc32($bytes);
}

# One section as bytes. $batches: [ { n => rows, cols => [ [ name, type, shape, numbers or \bytes, "row" or none ] ] } ].
# $change, if given, may alter each record (tag, meta, bins) before its crc is taken.
sub stream_bytes {
    my ($header, $batches, $change) = @_;
    my ($row, $nnz, @records) = (0, 0, [ 'SAES', $header ]);
    for my $b (@$batches) {
        my @cols = map { [ @$_[ 0 .. 2 ], $_->[4] // () ] } @{ $b->{cols} };
        my @bins = map { ref $_->[3] eq 'SCALAR' ? ${ $_->[3] } : bytes_pack($_->[1], $_->[3]) } @{ $b->{cols} };
        push @records, [ 'B', { n => $b->{n}, row => $row, cols => \@cols }, @bins ];
        $row += $b->{n};
        $nnz += $_->[2][0] for grep { $_->[0] eq 'idx' } @{ $b->{cols} };
    }
    my %codes = $header->{kind} eq 'codes' ? (nnz => $nnz) : ();
    push @records, [ 'E', { rows => $row, batches => scalar @$batches, %codes } ];
    if ($change) {
        $change->($_) for @records;
    }
    return join '', map { record_bytes(@$_) } @records;
}

# Write rows as a stream of acts, or (header kind codes) rows of { index => value }. %o: doc ctx pos tok (lists), text
# (strings), fields ({ name => strings }), batch (rows a batch), and further header keys in header.
sub stream_write {
    my ($path, $kind, $d, $rows, %o) = @_;
    my $type = $o{dtype} // 'f32';
    my ($size, @batches) = ($o{batch} // 100);
    for (my $at = 0; $at < @$rows; $at += $size) {
        my @i = ($at .. ($at + $size < @$rows ? $at + $size : @$rows) - 1);
        my $n = @i;
        my @cols = $kind eq 'codes' ? codes_columns($type, @$rows[@i])
            : [ 'x', $type, [ $n, $d ], [ map { @{ $rows->[$_] } } @i ] ];
        push @cols, [ $_, 'u32', [$n], [ @{ $o{$_} }[@i] ] ] for grep { $o{$_} } qw(doc ctx pos tok);
        if ($o{text}) {
            my ($text, @end) = ('');
            for (@i) {
                $text .= $o{text}[$_];
                push @end, length $text;
            }
            push @cols, [ 'text', 'u8', [ length $text ], \$text ], [ 'text_end', 'u32', [$n], \@end ];
        }
        for my $name (sort keys %{ $o{fields} // {} }) {
            my ($text, @end) = ('');
            for (@i) {
                $text .= $o{fields}{$name}[$_];
                push @end, length $text;
            }
            push @cols, [ $name, 'u8', [ length $text ], \$text, 'text' ], [ $name . '_end', 'u32', [$n], \@end ];
        }
        push @batches, { n => $n, cols => \@cols };
    }
    my %header = (v => 1, kind => $kind, d => $d, dtype => $type, %{ $o{header} // {} });
    file_write($path, stream_bytes(\%header, \@batches));
}

sub codes_columns {
    my ($type, @rows) = @_;
    my (@ptr, @idx, @val) = (0);
    for my $row (@rows) {
        my @on = sort { $a <=> $b } keys %$row;
        push @idx, @on;
        push @val, @$row{@on};
        push @ptr, scalar @idx;
    }
    return [ 'ptr', 'u32', [ scalar @ptr ], \@ptr ], [ 'idx', 'u32', [ scalar @idx ], \@idx ],
        [ 'val', $type, [ scalar @val ], \@val ];
}

# The frames of a zstd file: [ { size => bytes of content (undef if not stated), checksum => 0|1 } ].
sub zstd_frames {
    my ($bytes) = @_;
    my ($pos, @frames) = (0);
    while ($pos < length $bytes) {
        my $magic = unpack 'L<', mp_take(\$bytes, \$pos, 4);
        die "zstd: no frame at byte $pos\n" if $magic != 0xfd2fb528;
        my $flags = ord mp_take(\$bytes, \$pos, 1);
        my $single = $flags >> 5 & 1;
        mp_take(\$bytes, \$pos, 1) if !$single;
        mp_take(\$bytes, \$pos, (0, 1, 2, 4)[ $flags & 3 ]);
        my $width = ($single, 2, 4, 8)[ $flags >> 6 ];
        my $size = unpack(('x0', 'C', 'S<', '', 'L<', '', '', '', 'Q<')[$width], mp_take(\$bytes, \$pos, $width));
        $size += 256 if $width == 2;
        my $last = 0;
        while (!$last) {
            my $block = unpack 'L<', mp_take(\$bytes, \$pos, 3) . "\0";
            $last = $block & 1;
            mp_take(\$bytes, \$pos, ($block >> 1 & 3) == 1 ? 1 : $block >> 3);
        }
        mp_take(\$bytes, \$pos, 4) if $flags & 4;
        push @frames, { size => $size, checksum => $flags >> 2 & 1 };
    }
    return \@frames;
}

sub unzstd {
    my ($path) = @_;
    open my $in, '-|:raw', 'zstd', '-dcq', '--', $path or die "zstd: $!\n";
    local $/;
    my $bytes = <$in> // '';
    close $in or die "$path: zstd -dc failed\n";
    return $bytes;
}

# Read a stream, raw or zstd: the list of its sections, each
# { header, end, rows => number, n => [rows of each batch], meta => [map of each batch],
#   x => rows | codes => [{index => value}], doc, ctx, pos, tok, text => lists, fields => { name => strings }, other => { name => bytes } }.
# In zstd files each record must be one frame.
sub stream_read {
    my ($path) = @_;
    my $bytes = file_read($path);
    return stream_parse($bytes) if substr($bytes, 0, 4) ne "\x28\xb5\x2f\xfd";
    my $frames = zstd_frames($bytes);
    $bytes = unzstd($path);
    my $pos = 0;
    my $sections = stream_parse($bytes, sub {
        my ($start, $end) = @_;
        my $f = shift @$frames or die "fewer zstd frames than records\n";
        die "a zstd frame without checksum\n" if !$f->{checksum};
        die "a zstd frame is not one record\n" if !defined $f->{size} || $f->{size} != $end - $start;
    });
    die "more zstd frames than records\n" if @$frames;
    return $sections;
}

# The same from bytes. $seen is called with the first and the end offset of every record.
sub stream_parse {
    my ($bytes, $seen) = @_;
    my ($pos, @sections, $s) = (0);
    while ($pos < length $bytes) {
        my $start = $pos;
        my $head = ord substr $bytes, $pos++, 1;
        die sprintf "record at %d begins with %02x\n", $start, $head if $head >> 4 != 9 && $head != 0xdc;
        my $n = $head == 0xdc ? unpack 'n', mp_take(\$bytes, \$pos, 2) : $head & 15;
        my ($tag, $meta, @bins) = map { mp_decode(\$bytes, \$pos) } 1 .. $n - 1;
        die "record at $start: crc is not a uint32\n" if substr($bytes, $pos, 1) ne "\xce";
        my $want = Compress::Zlib::crc32(substr $bytes, $start, $pos - $start);
        die "record at $start: crc differs\n" if mp_decode(\$bytes, \$pos) != $want;
        die "record at $start: more than 64 MiB\n" if $pos - $start > 2**26;
        die "record at $start: element that is not binary\n" if grep { ref $_ ne 'SCALAR' } @bins;
        $seen->($start, $pos) if $seen;
        if ($tag eq 'SAES') {
            die "header inside a section\n" if $s;
            $s = section_new($meta, $bytes, $start);
        } elsif ($tag eq 'B') {
            batch_add($s // die("batch before a header\n"), $meta, map { $$_ } @bins);
        } elsif ($tag eq 'E') {
            push @sections, section_end($s // die("end before a header\n"), $meta);
            undef $s;
        }
    }
    die "no end record\n" if $s || !@sections;
    return \@sections;
}

sub section_new {
    my ($h, $bytes, $start) = @_;
    die "first bytes are not a header's\n" if substr($bytes, $start, 6) ne "\x93\xa4SAES";
    die "header key '$_' missing\n" for grep { !defined $h->{$_} } qw(v kind d dtype);
    die "version $h->{v}\n" if $h->{v} != 1;
    die "kind '$h->{kind}'\n" if $h->{kind} !~ /^(acts|codes)$/;
    die "dtype '$h->{dtype}'\n" if $h->{dtype} !~ /^(f32|f16|bf16)$/;
    return { header => $h, rows => 0, n => [], meta => [] };
}

sub batch_add {
    my ($s, $m, @bins) = @_;
    my ($n, $h) = ($m->{n}, $s->{header});
    die "batch of row $m->{row}, running count $s->{rows}\n" if $m->{row} != $s->{rows};
    die "batch with " . @{ $m->{cols} } . " columns, " . @bins . " bins\n" if @{ $m->{cols} } != @bins;
    my %col;
    for my $c (@{ $m->{cols} }) {
        my ($name, $type, $shape, $row) = @$c;
        die "column name '$name'\n" if $name !~ /^[a-z0-9_.]{1,64}$/ || $col{$name};
        my ($bin, $size) = (shift @bins, $SIZE{$type} // die "column type '$type'\n");
        $size *= $_ for @$shape;
        die "column '$name': " . length($bin) . " bytes for [@$shape] of $type\n" if length $bin != $size;
        die "column '$name': fourth element '$row'\n" if defined $row && $row ne 'row' && $row ne 'text';
        $col{$name} = { type => $type, shape => $shape, bytes => $bin, rule => $row // '' };
    }
    for my $name (grep { $col{$_} && $col{$_}{rule} eq 'text' } keys %col) {
        my ($text, $end) = delete @col{ $name, $name . '_end' };
        push @{ $s->{fields}{$name} }, text_strings($n, $text, $end);
    }
    for (qw(doc ctx pos tok)) {
        my $c = $col{$_} or next;
        die "column '$_' is not u32 [n]\n" if $c->{type} ne 'u32' || "@{$c->{shape}}" ne $n;
        push @{ $s->{$_} }, @{ bytes_unpack('u32', $c->{bytes}) };
    }
    push @{ $s->{text} }, text_strings($n, @col{qw(text text_end)}) if $col{text};
    if ($h->{kind} eq 'acts') {
        die "batch without x\n" if !$col{x};
        die "x is $col{x}{type} [@{$col{x}{shape}}]\n"
            if $col{x}{type} ne $h->{dtype} || "@{$col{x}{shape}}" ne "$n $h->{d}";
        push @{ $s->{x} }, @{ rows_of(bytes_unpack($h->{dtype}, $col{x}{bytes}), $h->{d}) };
    } else {
        push @{ $s->{codes} }, codes_rows($n, $h, \%col);
    }
    $s->{other}{$_} .= $col{$_}{bytes} for grep { !/^(x|doc|ctx|pos|tok|text|text_end|ptr|idx|val)$/ } keys %col;
    $s->{rows} += $n;
    push @{ $s->{n} }, $n;
    push @{ $s->{meta} }, $m;
}

sub text_strings {
    my ($n, $text, $end) = @_;
    die "text without text_end u32 [n]\n" if !$end || $end->{type} ne 'u32' || "@{$end->{shape}}" ne $n;
    my ($at, @strings) = (0);
    for (@{ bytes_unpack('u32', $end->{bytes}) }) {
        die "text_end falls or leaves the text\n" if $_ < $at || $_ > length $text->{bytes};
        push @strings, substr $text->{bytes}, $at, $_ - $at;
        $at = $_;
    }
    die "text behind the last text_end\n" if $at != length $text->{bytes};
    return @strings;
}

sub codes_rows {
    my ($n, $h, $col) = @_;
    die "codes batch without $_\n" for grep { !$col->{$_} } qw(ptr idx val);
    die "ptr, idx or val has a wrong type\n"
        if $col->{ptr}{type} ne 'u32' || $col->{idx}{type} ne 'u32' || $col->{val}{type} ne $h->{dtype};
    my ($ptr, $idx, $val) = map { bytes_unpack($col->{$_}{type}, $col->{$_}{bytes}) } qw(ptr idx val);
    die "ptr has " . @$ptr . " elements for $n rows\n" if @$ptr != $n + 1 || $ptr->[0] != 0;
    die "idx, val and ptr disagree\n" if @$idx != @$val || $ptr->[-1] != @$idx;
    my @rows;
    for my $i (0 .. $n - 1) {
        my ($last, %row) = (-1);
        for ($ptr->[$i] .. $ptr->[ $i + 1 ] - 1) {
            die "idx does not rise, or is beyond d\n" if $idx->[$_] <= $last || $idx->[$_] >= $h->{d};
            $row{ $last = $idx->[$_] } = $val->[$_];
        }
        push @rows, \%row;
    }
    return @rows;
}

sub section_end {
    my ($s, $t) = @_;
    die "end says $t->{rows} rows, there are $s->{rows}\n" if $t->{rows} != $s->{rows};
    die "end says $t->{batches} batches, there are " . @{ $s->{n} } . "\n" if $t->{batches} != @{ $s->{n} };
    if ($s->{header}{kind} eq 'codes') {
        my $nnz = 0;
        $nnz += keys %$_ for @{ $s->{codes} };
        die "end says " . ($t->{nnz} // 'no nnz') . ", there are $nnz\n" if ($t->{nnz} // -1) != $nnz;
    }
    return { %$s, end => $t };
}

# ---- safetensors ----

my %ST_TYPE = (F64 => 'f64', F32 => 'f32', F16 => 'f16', BF16 => 'bf16', I64 => 'i64', I32 => 'i32',
    U8 => 'u8', BOOL => 'u8');

# { meta => {string => string}, names => [in order of offset], tensor => { name => { dtype, shape, bytes } } }
sub st_read {
    my ($path) = @_;
    my $bytes = file_read($path);
    die "$path: too short\n" if length $bytes < 8;
    my $n = unpack 'Q<', $bytes;
    die "$path: header of $n bytes\n" if $n > length($bytes) - 8;
    my $h = JSON::PP->new->utf8->decode(substr $bytes, 8, $n);
    my $meta = delete $h->{__metadata__} // {};
    my $at = 0;
    my @names = sort { $h->{$a}{data_offsets}[0] <=> $h->{$b}{data_offsets}[0]
        || $h->{$a}{data_offsets}[1] <=> $h->{$b}{data_offsets}[1] } keys %$h;
    for (@names) {
        my ($t, $size) = ($h->{$_}, $SIZE{ $ST_TYPE{ $h->{$_}{dtype} } // die "$path: $_: type $h->{$_}{dtype}\n" });
        $size *= $_ for @{ $t->{shape} };
        my ($from, $to) = @{ $t->{data_offsets} };
        die "$path: $_: offsets $from to $to, expected $at and $size bytes\n" if $from != $at || $to != $at + $size;
        $t->{bytes} = substr $bytes, 8 + $n + $from, $size;
        $at = $to;
    }
    die "$path: bytes behind the last tensor\n" if 8 + $n + $at != length $bytes;
    return { meta => $meta, names => \@names, tensor => $h };
}

sub st_flat {
    my ($st, $name) = @_;
    my $t = $st->{tensor}{$name} or die "no tensor '$name'\n";
    return bytes_unpack($ST_TYPE{ $t->{dtype} }, $t->{bytes});
}

sub st_rows {
    my ($st, $name) = @_;
    return rows_of(st_flat($st, $name), $st->{tensor}{$name}{shape}[-1]);
}

# $tensors: [ [ name, dtype, shape, numbers ] ]. The header is padded so that the data begin at $pad modulo 8.
sub st_write {
    my ($path, $tensors, $meta, $pad) = @_;
    my ($at, $data, @head) = (0, '');
    my $json = JSON::PP->new->canonical->utf8->allow_nonref;
    push @head, '"__metadata__":' . $json->encode($meta) if $meta;
    for (@$tensors) {
        my ($name, $dtype, $shape, $numbers) = @$_;
        my $bytes = bytes_pack($ST_TYPE{$dtype}, $numbers);
        push @head, sprintf '%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}', $json->encode($name), $dtype,
            $json->encode($shape), $at, $at + length $bytes;
        $at += length $bytes;
        $data .= $bytes;
    }
    my $head = '{' . join(',', @head) . '}';
    $head .= ' ' while length($head) % 8 != ($pad // 0);
    file_write($path, pack('Q<', length $head) . $head . $data);
}

# ---- .npy ----

my %NPY_TYPE = ('<f4' => 'f32', '<f8' => 'f64', '<f2' => 'f16', '<i4' => 'i32', '<i8' => 'i64', '<u4' => 'u32');

# { shape, data => numbers in C order }
sub npy_read {
    my ($path) = @_;
    my $bytes = file_read($path);
    die "$path: not .npy\n" if substr($bytes, 0, 6) ne "\x93NUMPY";
    my $long = ord(substr $bytes, 6, 1) > 1;
    my $n = unpack $long ? 'L<' : 'S<', substr $bytes, 8;
    my ($start, $head) = (($long ? 12 : 10) + $n, substr $bytes, $long ? 12 : 10, $n);
    my ($descr) = $head =~ /'descr':\s*'([^']+)'/ or die "$path: no descr\n";
    my ($order) = $head =~ /'fortran_order':\s*(True|False)/ or die "$path: no fortran_order\n";
    my ($shape) = $head =~ /'shape':\s*\(([^)]*)\)/ or die "$path: no shape\n";
    die "$path: column order\n" if $order eq 'True';
    die "$path: data begin at $start, not a multiple of 16, or no newline before\n" if $start % 16 || $head !~ /\n\z/;
    my @shape = $shape =~ /\d+/g;
    my $data = bytes_unpack($NPY_TYPE{$descr} // die("$path: type $descr\n"), substr $bytes, $start);
    my $want = 1;
    $want *= $_ for @shape;
    die "$path: " . @$data . " numbers for (@shape)\n" if @$data != $want;
    return { shape => \@shape, data => $data };
}

# As NumPy writes it, in format version 1.0. $descr is '<f4', '<f8' or '<f2'.
# The members of a zip whose files are stored as they are, { name => bytes }, with the list of their names in ''. Both the
# directory and the members' own heads are read, with 64 bits where they have them, and must agree; the crc is checked.
sub zip_read {
    my ($path) = @_;
    my $bytes = file_read($path);
    die "$path: no zip end\n" if substr($bytes, -22, 4) ne "PK\5\6";
    die "$path: no zip64 locator\n" if substr($bytes, -42, 4) ne "PK\6\7";
    my $end = unpack 'Q<', substr $bytes, -42 + 8, 8;
    my ($sig, $rest, undef, undef, undef, undef, $here, $n, $size, $at) = unpack 'a4 Q< S< S< L< L< Q< Q< Q< Q<', substr $bytes, $end, 56;
    die "$path: zip64 end is wrong\n" if $sig ne "PK\6\6" || $rest != 44 || $here != $n || $end != length($bytes) - 98 || $at + $size != $end;
    my (%member, @names);
    for (1 .. $n) {
        my ($s, undef, undef, $flags, $method, undef, undef, $crc, $csize, $usize, $nlen, $xlen, $clen, $off)
            = (unpack 'a4 S< S< S< S< S< S< L< L< L< S< S< S< x8 L<', substr $bytes, $at, 46);
        my $name = substr $bytes, $at + 46, $nlen;
        my ($id, $len, $u, $c, $o) = unpack 'S< S< Q< Q< Q<', substr $bytes, $at + 46 + $nlen, $xlen;
        die "$path: $name: directory\n" if $s ne "PK\1\2" || $flags || $method || $csize != 0xffffffff || $usize != $csize
            || $off != $csize || $id != 1 || $len != 24 || $u != $c;
        my ($s2, $f2, $m2, $crc2, $nlen2, $xlen2) = unpack 'a4 x2 S< S< x4 L< x8 S< S<', substr $bytes, $o, 30;
        my ($u2) = unpack 'x4 Q<', substr $bytes, $o + 30 + $nlen2, $xlen2;
        die "$path: $name: head\n" if $s2 ne "PK\3\4" || $f2 || $m2 || $crc2 != $crc || substr($bytes, $o + 30, $nlen2) ne $name || $u2 != $u;
        $member{$name} = substr $bytes, $o + 30 + $nlen2 + $xlen2, $u;
        die "$path: $name: crc\n" if Compress::Zlib::crc32($member{$name}) != $crc;
        push @names, $name;
        $at += 46 + $nlen + $xlen + $clen;
    }
    die "$path: directory is longer\n" if $at != $end;
    return { %member, '' => \@names };
}

sub npy_write {
    my ($path, $descr, $shape, $numbers) = @_;
    my $dims = join(', ', @$shape) . (@$shape == 1 ? ',' : '');
    my $head = "{'descr': '$descr', 'fortran_order': False, 'shape': ($dims), }";
    $head .= ' ' while (10 + length($head) + 1) % 64;
    $head .= "\n";
    file_write($path, "\x93NUMPY\x01\x00" . pack('S<', length $head) . $head . bytes_pack($NPY_TYPE{$descr}, $numbers));
}

# ---- tables ----

# A table of tab-separated columns with one header line: ( [names], [ { name => value } ] ). \t \n \\ are read back.
sub tsv_read {
    my ($text) = @_;
    my %escape = (t => "\t", n => "\n", r => "\r", '\\' => '\\');
    my ($head, @lines) = split /\n/, $text, -1;
    die "table: the last line does not end\n" if !@lines || pop @lines ne '';
    my @names = split /\t/, $head, -1;
    my @rows;
    for (@lines) {
        my @fields = split /\t/, $_, -1;
        die "table: " . @fields . " fields under " . @names . " names: $_\n" if @fields != @names;
        s/\\(.)/$escape{$1} \/\/ "\\$1"/ge for @fields;
        my %row;
        @row{@names} = @fields;
        push @rows, \%row;
    }
    return \@names, \@rows;
}


1;
