#!/usr/bin/perl
# act-cat: casts, scale, arrays in and out, tables, what --info says, and what does not go together. (Joining and cutting:
# stream.t.)
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use RefFiles;
use RefTest;
use Test::More;

srand 5;
my ($n, $d) = (23, 5);
my $rows = random_rows($n, $d, 3);
@{ $rows->[0] } = @{ round_to('f32', [ 65504, -65519, 6e-8, 1 + 2**-11, 1 + 3 * 2**-11 ]) };    # corners of the short types
my %columns = (doc => [ map { int $_ / 9 } 0 .. $n - 1 ], ctx => [ map { int $_ / 4 } 0 .. $n - 1 ],
    pos => [ map { $_ % 4 } 0 .. $n - 1 ], tok => [ 1 .. $n ], text => [ map { "w$_" } 1 .. $n ]);
stream_write('a.saes', 'acts', $d, $rows, %columns, batch => 7, header => { hook => 'hook_embed', rows => $n });
my $codes = [ map { +{ map { $_ => 1 + int rand 9 } grep { rand() < 0.4 } 0 .. 8 } } 1 .. $n ];
stream_write('c.saes', 'codes', 9, $codes, %columns, batch => 7);

sub one {
    my ($path) = @_;
    my $sections = eval { stream_read($path) };
    fail("$path: $@") if !$sections;
    return $sections ? $sections->[0] : { header => {} };
}

sub stored { my ($type, $list) = @_; return [ map { round_to($type, $_) } @$list ] }

# ---- types and scale ----

for my $from (qw(f32 f16 bf16)) {
    for my $to (qw(f32 f16 bf16)) {
        my $have = stored($from, $rows);
        $have = stored($from, [ map { [ map { abs $_ < 65520 ? $_ : 0 } @$_ ] } @$have ]) if $to eq 'f16';
        stream_write('from', 'acts', $d, $have, %columns, dtype => $from, batch => 9);
        runs(qw(act-cat -o to -t), $to, 'from');
        my $out = one('to');
        is_deeply($out->{x}, stored($to, $have), "$from to $to: nearest, ties to even");
        is("$out->{header}{dtype} @{$out->{tok}}", "$to @{$columns{tok}}", 'the header says so, the rest stays');
    }
}
runs(qw(act-cat -o out --scale -0.125 a.saes));
my $out = one('out');
is_deeply($out->{x}, stored('f32', [ map { [ map { $_ * -0.125 } @$_ ] } @$rows ]), '--scale');
is_deeply($out->{header}{proc}, { scale => -0.125 }, 'the header records it');
runs(qw(act-cat -o again --scale 4 out));
is_deeply(one('again')->{header}{proc}, { scale => -0.5 }, 'and what was done before');
runs(qw(act-cat -o out -t f16 --scale 2 c.saes));
is_deeply(one('out')->{codes}, [ map { my $row = $_; +{ map { $_ => 2 * $row->{$_} } keys %$row } } @$codes ], 'codes alike');
misuse(3, qr/^act-cat: <stdout>: row 0: a value that is not finite/, qw(act-cat -t f16 --scale 100 a.saes));
runs(qw(act-cat --allow-nan -t f16 --scale 100 -o out a.saes));

# A large record of a short type becomes several wider ones.
{
    my $half = pack('S<', 0x3c00) x (1 << 24);
    file_write('large', stream_bytes({ v => 1, kind => 'acts', d => 64, dtype => 'f16' },
        [ { n => 1 << 18, cols => [ [ 'x', 'f16', [ 1 << 18, 64 ], \$half ] ] } ]));
    runs(qw(act-cat -t f32 --head 262143 -o out large));
    is(runs(qw(act-cat --info out)) =~ /"rows": (\d+)/ && $1, 262143, 'f16 to f32 of a record of 32 MiB');
    unlink 'large', 'out';
}

# ---- arrays in ----

my @flat = map { @$_ } @$rows;
for ([ '<f4', 'f32' ], [ '<f2', 'f16' ], [ '<f8', 'f64' ]) {
    my ($descr, $type) = @$_;
    my $stored = round_to($type, [ map { abs $_ < 65504 ? $_ : 1 } @flat ]);
    npy_write('a.npy', $descr, [ $n, $d ], $stored);
    runs(qw(act-cat --from npy -p hook_embed -o out a.npy));
    my $s = one('out');
    is_deeply([ map { @$_ } @{ $s->{x} } ], round_to('f32', $stored), ".npy of $descr");
    is("@{$s->{header}}{qw(kind d dtype hook rows)}", "acts $d " . ($type eq 'f16' ? 'f16' : 'f32') . " hook_embed $n", 'its header');
}
npy_write('b.npy', '<f4', [ 2, 3, $d ], [ @flat[ 0 .. 29 ] ]);
runs(qw(act-cat --from npy -o out b.npy));
is_deeply(one('out')->{x}, [ @$rows[ 0 .. 5 ] ], 'three dimensions: the last is the row');
npy_write('a.npy', '<f4', [ $n, $d ], \@flat);
runs(qw(act-cat --from npy --skip 20 -t bf16 -o out a.npy b.npy));
is_deeply(one('out')->{x}, stored('bf16', [ @$rows[ 20 .. 22, 0 .. 5 ] ]), 'two arrays, cut and cast');
is(one('out')->{header}{rows}, undef, 'without a total');
npy_write('e.npy', '<f4', [ 0, $d ], []);
runs(qw(act-cat --from npy -o out e.npy));
is(one('out')->{rows}, 0, 'an array of no rows');
file_write('a.raw', bytes_pack('f32', \@flat));
runs(qw(act-cat --from raw -d 5 -o out a.raw));
is_deeply(one('out')->{x}, $rows, 'raw rows');
system('zstd -qf a.raw a.npy') == 0 or die;
runs(qw(act-cat --from npy -o out a.npy.zst));
is_deeply(one('out')->{x}, $rows, 'compressed .npy');
npy_write('w.npy', '<f4', [ 2, 3 ], [ 1 .. 6 ]);
misuse(3, qr/w\.npy: rows are 3 wide, the array before it has 5/, qw(act-cat --from npy -o out2 a.npy w.npy));
file_write('cut.npy', substr file_read('a.npy'), 0, 200);
misuse(3, qr/cut\.npy: cut short in row 3$/, qw(act-cat --from npy -o out2 cut.npy));
file_write('cut.raw', substr file_read('a.raw'), 0, 50);
misuse(3, qr/cut\.raw: cut short in row 2$/, qw(act-cat --from raw -d 5 -o out2 cut.raw));
misuse(3, qr/a\.npy: not a stream [^\n]*: it is a \.npy array \(act-cat --from npy/, qw(act-cat a.npy));
misuse(3, qr/a\.saes: not an npy file/, qw(act-cat --from npy a.saes));
npy_write('nan.npy', '<f4', [ 3, 2 ], [ 1, 2, 3, 9**9**9, 5, 6 ]);
misuse(3, qr/row 1: a value that is not finite/, qw(act-cat --from npy nan.npy));
npy_write('nan.npy', '<f4', [ 3, 2 ], [ 1, 2, 3, 4, -sin(9**9**9), 6 ]);
misuse(3, qr/row 2: a value that is not finite/, qw(act-cat --from npy -o out2 nan.npy));
ok(!-e 'out2', 'none of these left an output');

# ---- arrays and tables out ----

for ([ 'f32', 'f32' ], [ 'f16', 'f16' ], [ 'bf16', 'f32' ]) {
    my ($type, $array) = @$_;
    my @fits = map { [ map { abs $_ < 60000 ? $_ : 1 } @$_ ] } @$rows;
    stream_write('t.saes', 'acts', $d, \@fits, dtype => $type, batch => 4);
    runs(qw(act-cat --to npy -o out.npy --every 2 t.saes));
    my $a = npy_read('out.npy');
    my @kept = map { @{ $fits[ 2 * $_ ] } } 0 .. 11;
    is_deeply([ $a->{shape}, $a->{data} ], [ [ 12, $d ], round_to($type, \@kept) ], "$type rows to .npy");
    runs(qw(act-cat --to raw -o out.raw t.saes));
    is(file_read('out.raw'), bytes_pack($type, [ map { @$_ } @fits ]), "$type rows alone");
}
runs(qw(act-cat --to npy --head 0 -o out.npy a.saes));
is_deeply(npy_read('out.npy')->{shape}, [ 0, $d ], 'no rows');
is(runs(qw(act-cat --from npy --to npy a.npy)), file_read('a.npy'), '.npy through: the same file');
misuse(3, qr/c\.saes: codes have no fixed width: --to npz or tsv/, qw(act-cat --to npy c.saes));
misuse(2, qr/bf16/, qw(act-cat --to npy -t bf16 a.saes));

my ($names, $table) = tsv_read(scalar runs(qw(act-cat --to tsv a.saes)));
is("@$names", "doc ctx pos tok text @{[ map { qq(x$_) } 0 .. $d - 1 ]}", 'a table of acts');
is_deeply([ map { my $r = $_; round_to('f32', [ map { $r->{"x$_"} } 0 .. $d - 1 ]) } @$table ], $rows, 'its numbers read back exactly');
is(join('|', map { join ',', @$_{qw(doc ctx pos tok text)} } @$table),
    join('|', map { my $i = $_; join ',', map { $columns{$_}[$i] } qw(doc ctx pos tok text) } 0 .. $n - 1), 'whose rows they are');
($names, $table) = tsv_read(scalar runs(qw(act-cat --to tsv c.saes)));
is("@$names", 'doc ctx pos tok text row feature value', 'a table of codes');
is(join('|', map { "$_->{row}:$_->{feature}=$_->{value}" } @$table),
    join('|', map { my $i = $_; map { "$i:$_=$codes->[$i]{$_}" } sort { $a <=> $b } keys %{ $codes->[$i] } } 0 .. $n - 1), 'a line a pair');
my @json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(act-cat --to tsv --json c.saes));
is_deeply([ map { [ @$_{qw(row feature value text)} ] } @json ], [ map { [ @$_{qw(row feature value text)} ] } @$table ], '--json: the same');
ok($json[0]{tok} =~ /^\d+$/ && JSON::PP->new->encode([ $json[0]{tok} ]) eq "[$json[0]{tok}]", 'numbers are numbers there');

# ---- looking ----

system 'cat a.saes a.saes | zstd -q >two.zst';
my $info = JSON::PP->new->utf8->decode(scalar runs(qw(act-cat --info two.zst)));
is_deeply([ @$info{qw(file sections rows batches)} ], [ 'two.zst', 2, 2 * $n, 8 ], '--info: totals');
is_deeply($info->{header}, one('a.saes')->{header}, 'the header');
is_deeply($info->{end}, { rows => $n, batches => 4 }, 'the end record');
@json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(qw(act-cat --info --json a.saes c.saes));
is(join(' ', map { "$_->{file}:$_->{header}{kind}" } @json), 'a.saes:acts c.saes:codes', '--json: a line for each');
runs(qw(act-cat --info -o info a.saes));
is(file_read('info'), runs(qw(act-cat --info a.saes)), '-o holds for it');
is(runs(qw(act-cat --check a.saes c.saes two.zst)), '', '--check says nothing when all is well');
misuse(3, qr/cut\.raw/, qw(act-cat --check a.saes cut.raw two.zst));

# The stats that a writer states.
runs(qw(act-cat -o out a.saes));
my ($norm, $square) = (0, 0);
for my $row (@$rows) {
    my $q = 0;
    $q += $_ * $_ for @$row;
    $square += $q / $n;
    $norm += sqrt($q) / $n;
}
my $stats = one('out')->{end}{stats};
ok(abs($stats->{mean_norm} / $norm - 1) < 1e-12 && abs($stats->{mean_sq} / $square - 1) < 1e-12, 'mean norm and mean square');

# ---- sections of several headers ----

stream_write('s1', 'acts', 2, [ [ 1, 2 ], [ 3, 4 ] ], header => { model => 'one' });
stream_write('s2', 'acts', 2, [ [ 5, 6 ] ], header => { model => 'two' });
stream_write('s0', 'acts', 2, [], header => { model => 'none' });
system 'cat s1 s1 s2 s0 s1 >several';
$info = JSON::PP->new->utf8->decode(scalar runs(qw(act-cat --info several)));
is("@$info{qw(sections rows batches)} $info->{header}{model}", '5 7 4 one', 'several sections: totals, and the header of the first');
is(join(' ', map { ($_->{header} ? $_->{header}{model} : '=') . ":$_->{end}{rows}" } @{ $info->{parts} }), 'one:2 =:2 two:1 none:0 one:2',
    'each with its end, and its header where that is another');
ok(!exists JSON::PP->new->utf8->decode(scalar runs(qw(act-cat --info s1)))->{parts}, 'one section has no parts');
stream_write('c1', 'acts', 2, [ [ 1, 2 ] ], header => { hook => "\xc2\x9b2J \xe2\x80\xae \xf3\xa0\x80\xa0 caf\xc3\xa9" });
my $c1 = runs(qw(act-cat --info c1));
ok($c1 =~ /"hook": "\\u009b2J \\u202e \\udb40\\udc20 caf\xc3\xa9"/, 'what steers a terminal is escaped');
is(JSON::PP->new->utf8->decode($c1)->{header}{hook}, "\x{9b}2J \x{202e} \x{e0020} caf\x{e9}", 'and still the same string');

# ---- rows chosen ----

$columns{fields} = { label => [ map { ('fr', 'en', '')[ $_ % 3 ] } 0 .. $n - 1 ] };
stream_write('f.saes', 'acts', $d, $rows, %columns, batch => 7, header => { hook => 'hook_embed', rows => $n });
stream_write('fc.saes', 'codes', 9, $codes, %columns, batch => 7);
for ([ 'label=fr', sub { $_ % 3 == 0 } ], [ 'label=', sub { $_ % 3 == 2 } ], [ 'label!=fr doc=0-1', sub { $_ % 3 && $_ < 18 } ], [ 'tok=5:9', sub { $_ >= 4 && $_ <= 8 } ],
    [ 'last', sub { $_ % 4 == 3 || $_ == $n - 1 } ], [ '2', sub { $_ % 4 == 2 } ], [ 'token=w12', sub { $_ == 11 } ], [ 'label=none', sub { 0 } ]) {
    my ($where, $keep) = @$_;
    my @i = grep { $keep->() } 0 .. $n - 1;
    for my $file ('f.saes', 'fc.saes') {
        runs(qw(act-cat -o out --where), $where, $file);
        my $s = one('out');
        is_deeply([ @$s{qw(tok text)}, $s->{fields}, $s->{x} // $s->{codes} ],
            @i ? [ [ @{ $columns{tok} }[@i] ], [ @{ $columns{text} }[@i] ], { label => [ @{ $columns{fields}{label} }[@i] ] },
            [ @{ $file eq 'f.saes' ? $rows : $codes }[@i] ] ] : [ (undef) x 3, $file eq 'f.saes' ? undef : [] ], "$file: --where $where");
    }
}
runs(qw(act-cat -o out --where label=fr --skip 1 --every 2 --head 2 f.saes));
is("@{one('out')->{tok}}", '4 10', '--where first, then --skip, --every and --head');
is(one('out')->{header}{rows}, undef, 'no total any more');
runs(qw(act-cat -o out --where last f.saes f.saes));
is(one('out')->{rows}, 2 * 6, 'the last rows of two streams');
misuse(3, qr/a\.saes: .*label/, qw(act-cat -o out2 --where label=fr a.saes));
misuse(2, qr/--where/, 'act-cat', '-o', 'out2', '--where', 'what', 'f.saes');

# ---- rows shuffled ----

{
    my $big = random_rows(5000, 4, 1);
    my %with = (doc => [ map { int $_ / 10 } 0 .. 4999 ], ctx => [ map { int $_ / 10 } 0 .. 4999 ], pos => [ map { $_ % 10 } 0 .. 4999 ],
        tok => [ 0 .. 4999 ], text => [ map { "t$_" } 0 .. 4999 ], fields => { label => [ map { 'l' x ($_ % 3) } 0 .. 4999 ] });
    stream_write('big', 'acts', 4, $big, %with, header => { rows => 5000, proc => { scale => 2 } });
    my $sum = sub { my ($s) = @_; join '|', map { my $i = $_; join ' ', @{ $s->{x}[$i] }, map { $_->[$i] } @$s{qw(doc ctx pos tok text)}, $s->{fields}{label} } 0 .. $s->{rows} - 1 };
    my @before = split /\|/, $sum->(one('big'));
    for my $how ('--shuffle', '--shuffle=300') {
        runs('act-cat', $how, qw(-o out big));
        runs('act-cat', $how, qw(-o again -j1 big));
        runs('act-cat', $how, qw(-s 1 -o other big));
        my ($s, $t) = (one('out'), one('other'));
        my @after = split /\|/, $sum->($s);
        ok("@after" ne "@before" && "@{[ sort @after ]}" eq "@{[ sort @before ]}", "$how: the same rows in another order, each with all that is its own");
        is(file_read('again'), file_read('out'), 'the same seed, the same bytes');
        ok("@{$s->{tok}}" ne "@{$t->{tok}}" && "@{[ sort { $a <=> $b } @{ $t->{tok} } ]}" eq "@{[ 0 .. 4999 ]}", 'another seed, another order');
        is_deeply([ $s->{header}{proc}, $t->{header}{proc}{shuffled}, $s->{header}{rows} ], [ { scale => 2, shuffled => 0 }, 1, 5000 ],
            'the header says so');
        my $moved = 0;
        $moved += abs($s->{tok}[$_] - $_) / 5000 for 0 .. 4999;
        ok($how eq '--shuffle' ? abs($moved / (5000 / 3) - 1) < 0.05 : $moved > 150 && $moved < 450, sprintf 'rows move by %.0f on average', $moved);
        my @args = @{ $s->{header}{history}[0]{args} };
        runs(qw(act-cat -o again), @args, 'big');
        is(file_read('again'), file_read('out'), "given again as the history has it: @args");
    }
    runs(qw(act-cat --shuffle --where label=ll --head 100 -t bf16 -o out big));
    my $s = one('out');
    is("@{[ sort { $a <=> $b } @{ $s->{tok} } ]}", "@{[ map { 3 * $_ + 2 } 0 .. 99 ]}", 'rows are chosen first, then shuffled');
    is(length(runs(qw(act-cat --shuffle --to raw big))), 5000 * 16, 'into other formats too');
    misuse(3, qr/a\.saes: no column \w+, or another kind of it|a\.saes: columns that earlier rows have not/, qw(act-cat --shuffle -o out2 t4 a.saes))
        if stream_write('t4', 'acts', $d, [ [ 1 .. $d ] ]);
    misuse(2, qr/--shuffle: '0'/, qw(act-cat --shuffle=0 -o out2 big));
}
ok(!-e 'out2', 'no output of what was refused');

# ---- what does not go together ----

stream_write('w.saes', 'acts', 4, [ [ 1 .. 4 ] ]);
stream_write('h.saes', 'acts', $d, $rows, header => { hook => 'logits' });
stream_write('t.saes', 'acts', $d, [ map { [ map { abs $_ < 60000 ? $_ : 1 } @$_ ] } @$rows ], dtype => 'f16');
for ([ 'w.saes', qr/w\.saes: acts of width 4 behind acts of width 5/ ], [ 'c.saes', qr/c\.saes: codes of width 9 behind acts of width 5/ ],
    [ 'h.saes', qr/h\.saes: hook logits behind hook hook_embed/ ], [ 't.saes', qr/t\.saes: rows are f16 behind f32: say -t/ ]) {
    my ($file, $regex) = @$_;
    misuse(3, $regex, qw(act-cat -o out2 a.saes), $file);
}
ok(!-e 'out2', 'and no output is there');
runs(qw(act-cat -t f32 -o out a.saes t.saes));
is(one('out')->{rows}, 2 * $n, 'with -t types may differ');
misuse(2, qr/--from raw needs -d/, qw(act-cat --from raw a.raw));
misuse(2, qr/--info and --check/, qw(act-cat --from npy --info a.npy));

done_testing();
