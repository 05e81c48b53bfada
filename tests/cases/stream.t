#!/usr/bin/perl
# stream: what every filter does with the parts of a stream that are not its business: unknown records, keys and columns,
# sections, empty batches, compression, history.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 4;
my $s = sae_random('relu', 4, 6);
sae_write('s.sae', $s);

# Eight rows of acts in three batches (one of them empty), with columns of everybody.
my $rows = random_rows(8, 4, 1);
my @label = ('fr', '', "caf\xc3\xa9", '', "\xff", 'en' x 40, 'en', "a\tb\n");
my @text = ("a\n", "\xc3", "\xa9", '', "\t", '\\', 'x' x 300, ' end');
sub batch {
    my ($from, $n, $tag) = @_;
    my @i = ($from .. $from + $n - 1);
    my ($text, $label, @end, @label_end) = ('', '');
    for (@i) {
        $text .= $text[$_];
        $label .= $label[$_];
        push @end, length $text;
        push @label_end, length $label;
    }
    my $ctx = [ map { int $_ / 4 } @i ];
    my @cols = ([ 'x', 'f32', [ $n, 4 ], [ map { @{ $rows->[$_] } } @i ] ], [ 'doc', 'u32', [$n], $ctx ],
        [ 'ctx', 'u32', [$n], $ctx ], [ 'pos', 'u32', [$n], [ map { $_ % 4 } @i ] ], [ 'tok', 'u32', [$n], [ map { 100 + $_ } @i ] ],
        [ 'text', 'u8', [ length $text ], \$text ], [ 'text_end', 'u32', [$n], \@end ],
        [ 'label', 'u8', [ length $label ], \$label, 'text' ], [ 'label_end', 'u32', [$n], \@label_end ],
        [ 'mine.rows', 'u16', [ $n, 2 ], [ map { ($_, 7 * $_) } @i ], 'row' ], [ "mine.$tag", 'f64', [ 1, 3 ], [ 0.5, -1, $from ] ]);
    return { n => $n, cols => \@cols };
}
my @batches = (batch(0, 3, 'all'), batch(3, 0, 'none'), batch(3, 5, 'all'));
my %header = (v => 1, kind => 'acts', d => 4, dtype => 'f32', hook => 'hook_embed', rows => 8, model => 'small',
    later => { list => [ 1, -2, 2.5, -1e300, 4503599627370496, undef, JSON::PP::true(), "caf\xc3\xa9", {} ], bin => \"\x00\xff\x80",
        ext => [ map { bless [ -10, $_ ], 'RefFiles::Ext' } '', 'abc', 'wxyz', 'z' x 300 ] },
    'a.key' => 'kept');

# With a record of a kind that nobody knows, and unknown keys in batches and end.
sub section {
    my (%more) = @_;
    my $bytes = stream_bytes({ %header, %more }, \@batches, sub {
        my ($r) = @_;
        $r->[1]{unknown} = [ 1, { two => 'three' } ] if $r->[0] ne 'SAES';
    });
    my @records;
    stream_parse($bytes, sub { push @records, substr $bytes, $_[0], $_[1] - $_[0] });
    splice @records, 2, 0, RefFiles::record_bytes('NEW', { for => 'nobody' }, 'bytes', '');
    return join '', @records;
}

# The sections of a stream.
sub sections {
    my ($path) = @_;
    my $sections = eval { stream_read($path) };
    fail("$path: $@") if !$sections;
    return $sections ? @$sections : ({ header => {}, rows => 0, other => {} });
}

sub same_keys {
    my ($name, $got, @changed) = @_;
    my (%got, %want) = %$got;
    %want = %header;
    delete @got{ @changed, 'history' };
    delete @want{@changed};
    is_deeply(\%got, \%want, "$name: the other keys of the header are copied through");
}

file_write('in', section());
my @filters = ([qw(act-cat)], [qw(sae-encode s.sae)], [qw(sae-encode --error s.sae)], [ qw(sae-patch -e), 'zero 1', 's.sae' ],
    [ qw(sae-patch --at last -e), 'zero 1', 's.sae' ]);

for my $filter (@filters) {
    my $name = "@$filter";
    runs(@$filter, '-o', 'out', 'in');
    my ($out) = sections('out');
    same_keys($name, $out->{header}, qw(kind d sae));
    is("@{$out->{tok}}", "@{[ 100 .. 107 ]}", "$name: rows");
    is_deeply($out->{text}, \@text, "$name: text, whatever its bytes");
    is_deeply($out->{fields}, { label => \@label }, "$name: a column of texts of its own");
    is($out->{other}{'mine.rows'}, pack('S<*', map { ($_, 7 * $_) } 0 .. 7), "$name: a column of rows travels");
    is($out->{other}{'mine.all'}, pack('d<*', 0.5, -1, 0, 0.5, -1, 3), "$name: and so does one of the batch while all rows do");
    ok(index(file_read('out'), 'nobody') < 0, "$name: a record of an unknown kind is passed over");
    is_deeply($out->{x}, $rows, "$name: numbers") if $name eq 'act-cat';
}

# ---- rows dropped ----

for ([ '--every 3', 0, 3, 6 ], [ '--skip 2', 2 .. 7 ], [ '--head 4', 0 .. 3 ], [ '--skip 1 --head 3 --every 2', 1, 3, 5 ],
    [ '--head 0' ], [ '--skip 8' ], [ '--skip 100 --head 1' ], [ '--head 8', 0 .. 7 ], [ '--every 100', 0 ]) {
    my ($options, @i) = @$_;
    runs('act-cat', split(/ /, $options), '-o', 'out', 'in');
    my ($out) = sections('out');
    is("@{$out->{tok} // []}", "@{[ map { 100 + $_ } @i ]}", "act-cat $options: rows");
    is_deeply([ @$out{qw(text x)} ], @i ? [ [ @text[@i] ], [ @$rows[@i] ] ] : [ undef, undef ], 'their text and numbers');
    is($out->{other}{'mine.rows'} // '', pack('S<*', map { ($_, 7 * $_) } @i), 'a column of rows travels');
    is_deeply($out->{fields}, @i ? { label => [ @label[@i] ] } : undef, 'so does one of texts');
    is($out->{other}{'mine.all'}, undef, 'one of the batch does not');
    is($out->{header}{rows}, undef, 'the header states no total any more');
}

# ---- sections ----

file_write('three', section(part => 'one') . section(part => 'two') . section(part => 'three'));
file_write('short', join '', map { stream_bytes({ %header, part => $_ }, [ $batches[0] ]) } qw(one two three));
for my $filter (@filters[ 1 .. $#filters ]) {
    for ([ 'three', 'in', 8 ], [ 'short', 'once', 3 ]) {
        my ($file, $one, $n) = @$_;
        file_write('once', stream_bytes(\%header, [ $batches[0] ]));
        runs(@$filter, '-o', 'out', $file);
        runs(@$filter, '-o', 'single', $one);
        my @out = sections('out');
        my ($single) = sections('single');
        is(join(' ', map { "$_->{header}{part}:$_->{rows}" } @out), "one:$n two:$n three:$n",
            "@$filter: as many sections, with their headers");
        is_deeply([ map { $_->{x} // $_->{codes} } @out ], [ ($single->{x} // $single->{codes}) x 3 ], 'and the rows of each');
    }
}
for ('in', 'in in', 'three', 'in three') {
    my $n = 8 * (() = /in/g) + 24 * (() = /three/g);
    runs('act-cat', '-o', 'out', split / /);
    my ($out, @more) = sections('out');
    is(@more . " $out->{rows}", "0 $n", "act-cat $_: one section");
    is("@{$out->{$_}}", "@{[ map { int $_ / 4 } 0 .. $n - 1 ]}", "$_ goes on from section to section") for qw(doc ctx);
    is("@{$out->{pos}}", "@{[ map { $_ % 4 } 0 .. $n - 1 ]}", 'pos does not');
}

# ---- nothing in them ----

file_write('none', stream_bytes(\%header, []));
file_write('empty', stream_bytes(\%header, [ batch(0, 0, 'all') ]));
for my $filter (@filters) {
    for my $in ('none', 'empty') {
        runs(@$filter, '-o', 'out', $in);
        is(join(' ', map { $_->{rows} } sections('out')), '0', "@$filter: a section without rows is one");
    }
}
is(runs(qw(act-cat --to tsv none)), join("\t", map { "x$_" } 0 .. 3) . "\n", 'as a table: its first line');
file_write('mixed', stream_bytes(\%header, []) . stream_bytes(\%header, \@batches) . stream_bytes(\%header, []));
runs(qw(act-cat --check mixed));
runs(qw(sae-encode -o out s.sae mixed));
my $sum = 0;
$sum += $_->{rows} for sections('out');
is($sum, 8, 'sections without rows among others');

# ---- a batch of more rows than a filter takes at once ----

{
    my $n = 300_000;                                            # 4 MiB hold 174762 rows of 6 features
    my $x = pack 'f<*', map { ($_ % 7, -($_ % 5), 1, 0.5) } 0 .. $n - 1;
    my $tok = pack 'L<*', 0 .. $n - 1;
    file_write('large', stream_bytes(\%header, [ { n => $n, cols => [ [ 'x', 'f32', [ $n, 4 ], \$x ], [ 'tok', 'u32', [$n], \$tok ],
        [ 'whole', 'u8', [5], \'abcde' ], [ 'rows', 'u32', [$n], \$tok, 'row' ],
        [ 'name', 'u8', [ 2 * $n ], \('ab' x $n), 'text' ], [ 'name_end', 'u32', [$n], [ map { 2 * $_ } 1 .. $n ] ] ] } ]));
    my @parts = map { substr $x, $_ * 800_000, 800_000 } 0 .. 5;
    file_write('small', stream_bytes(\%header,
        [ map { +{ n => 50_000, cols => [ [ 'x', 'f32', [ 50_000, 4 ], \$_ ] ] } } @parts ]));
    runs(qw(sae-encode -o large.codes s.sae large));
    runs(qw(sae-encode -o small.codes s.sae small));
    ok(runs(qw(act-cat --to tsv large.codes)) =~ s/^\w+\t\w+\t\w+\t//mgr eq runs(qw(act-cat --to tsv small.codes)), 'in parts: the same codes');
    runs(qw(sae-patch -o out s.sae large));
    my ($batches, $bins, $whole, $tokens, $names) = (0, '', 0, '', '');
    my $bytes = file_read('out');
    my $at = 0;
    while ($at < length $bytes) {
        my $parts = ord(substr $bytes, $at++, 1) & 15;
        my ($tag, $meta, @bin) = map { mp_decode(\$bytes, \$at) } 1 .. $parts;
        next if $tag ne 'B';
        my %column;
        @column{ map { $_->[0] } @{ $meta->{cols} } } = @bin;
        $batches++;
        $bins .= ${ $column{x} };
        $tokens .= ${ $column{rows} };
        $whole++ if $column{whole};
        $names .= ${ $column{name} } if length ${ $column{name} } == unpack 'L<', substr ${ $column{name_end} }, -4;
    }
    ok($batches > 1 && $bins eq $x && $tokens eq $tok && $names eq 'ab' x $n, "$batches batches: all rows, and what travels with them");
    is($whole, 1, 'what belongs to the whole batch comes once');
    unlink qw(large small large.codes small.codes);
}

# ---- as many columns as a batch may have ----

{
    my @columns = ([ 'x', 'f32', [ 1, 4 ], [ 1 .. 4 ] ], map { [ "c$_", 'f64', [1], [$_] ] } 1 .. 63);
    file_write('full', stream_bytes(\%header, [ { n => 1, cols => \@columns } ]));
    runs(qw(sae-patch -o out s.sae full));
    runs(qw(sae-encode --error -o out s.sae full));
    is(scalar keys %{ (sections('out'))[0]{other} }, 63, 'a batch of 64 columns goes through a filter that adds none');
    misuse(3, qr/full: its columns and those of the result are more than 64/, qw(sae-encode -o codes s.sae full));
    ok(!-e 'codes', 'one that adds two refuses it');
}

# ---- compression ----

for my $filter ([qw(act-cat)], [qw(sae-encode s.sae)]) {
    runs(@$filter, '-o', 'raw', 'mixed');
    for my $how ([qw(-z -o out)], [qw(-z19 -o out)], [qw(-o out.zst)], [qw(--compress=3 -o out)], [qw(--compress -o out)]) {
        runs(@$filter, @$how, 'mixed');
        my $file = $how->[-1];
        my $sections = eval { stream_read($file) };             # which wants a frame a record, checksum and size in each
        ok($sections && substr(file_read($file), 0, 4) eq "\x28\xb5\x2f\xfd", "@$filter @$how: zstd, a frame a record") or diag($@);
        is(`zstd -dcq $file`, file_read('raw'), 'of the same bytes as without');
    }
}
runs(qw(act-cat -o plain.zst.saes mixed));
is(substr(file_read('plain.zst.saes'), 1, 5), "\xa4SAES", 'only a name that ends in .zst compresses');
system 'cat out.zst out.zst >two.zst; zstd -qf --no-check -o foreign.zst mixed';
is(scalar @{ stream_read('two.zst') }, 2 * @{ stream_read('out.zst') }, 'cat of two compressed streams');
runs(qw(act-cat --check two.zst));
is(runs(qw(act-cat --to tsv foreign.zst)), runs(qw(act-cat --to tsv mixed)), 'what zstd itself compressed is read alike');
is(`act-cat <foreign.zst | act-cat --to tsv -`, runs(qw(act-cat --to tsv mixed)), 'from standard input too, named - or not');

# ---- history ----

sub history { my ($file) = @_; return stream_read($file)->[0]{header}{history} }

runs(qw(act-cat -j1 -q -z -o one --every 2 --scale 0.30000000000000004 mixed));
is_deeply([ map { my $h = $_; +{ map { $_ => $h->{$_} } grep { $_ ne 'version' } keys %$h } } @{ history('one') } ],
    [ { tool => 'act-cat', in => ['mixed'],
        args => [ qw(--skip 0 --every 2 --scale 0.30000000000000004 --from stream --seed 0) ] } ],
    'one entry: the options that change numbers with their defaults, and not the others');
runs(qw(sae-encode -o two s.sae one));
is(join(' ', map { $_->{tool} } @{ history('two') }), 'act-cat sae-encode', 'a tool adds its entry behind');
is("@{history('two')->[1]{in}}", 's.sae one', 'with its inputs');
runs(qw(act-cat -o three --no-history two));
is(join(' ', map { $_->{tool} } @{ history('three') }), 'act-cat sae-encode', '--no-history leaves it out');
runs(qw(act-cat -o three --no-history mixed));
is(history('three'), undef, 'and begins none');
runs(qw(act-cat -o again), @{ history('one')->[0]{args} }, 'mixed');
is_deeply(stream_read('again'), stream_read('one'), 'an entry can be given again');
rename 'mixed', "odd\xff\n" or die;
runs('act-cat', '-o', 'four', "odd\xff\n");
is("@{history('four')->[0]{in}}", 'odd??', 'a name that is not UTF-8 is masked');
ok(index(runs('act-cat', '--info', "odd\xff\n"), 'odd??') > 0, 'here too');

done_testing();
