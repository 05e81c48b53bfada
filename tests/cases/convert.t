#!/usr/bin/perl
# convert: rows from elsewhere and back: arrays with tokens beside them, safetensors, tables, sparse matrices. What goes out
# and comes back is the same bit for bit; what is not what it seems is refused.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Digest::SHA ();
use JSON::PP ();
use RefFiles;
use RefTest;
use Test::More;

srand 8;
my ($docs, $length, $d) = (4, 6, 3);
my $n = $docs * $length;
my $rows = random_rows($n, $d, 2);
my @flat = map { @$_ } @$rows;
my @ids = map { int rand 300 } 1 .. $n;

sub one {
    my ($path) = @_;
    my $sections = eval { stream_read($path) };
    fail("$path: $@") if !$sections;
    return $sections ? $sections->[0] : { header => {} };
}
sub whose { my ($s) = @_; return join ' ', map { join '.', map { $_ // '-' } @$_ } map { my $i = $_; [ map { $s->{$_} && $s->{$_}[$i] } qw(doc ctx pos tok) ] } 0 .. $s->{rows} - 1 }

# ---- tokens beside an array ----

npy_write('a.npy', '<f4', [ $docs, $length, $d ], \@flat);
npy_write('flat.npy', '<f4', [ $n, $d ], \@flat);
my $want = join ' ', map { my ($doc, $pos) = (int $_ / $length, $_ % $length); "$doc.$doc.$pos.$ids[$_]" } 0 .. $n - 1;
for my $type ('<i8', '<i4', '<u4') {
    npy_write('ids.npy', $type, [ $docs, $length ], \@ids);
    runs(qw(act-cat --from npy --tokens ids.npy -o out a.npy));
    my $out = one('out');
    is(whose($out), $want, "token numbers as $type: document and position are the array's axes");
    is_deeply($out->{x}, $rows, 'its rows');
    is($out->{text}, undef, 'no text without -m');
    is($out->{header}{rows}, $n, 'their number is known');
}
runs(qw(act-cat --from npy --tokens ids.npy -o out flat.npy));
is(whose(one('out')), $want, 'of a flat array the axes of the numbers');
npy_write('line.npy', '<i8', [$n], \@ids);
runs(qw(act-cat --from npy --tokens line.npy -o out a.npy));
is(whose(one('out')), $want, 'and of flat numbers those of the array');
runs(qw(act-cat --from npy --tokens line.npy -o out flat.npy));
is(whose(one('out')), join(' ', map { "0.0.$_.$ids[$_]" } 0 .. $n - 1), 'flat both: one document');
file_write('a.raw', bytes_pack('f32', \@flat));
runs(qw(act-cat --from raw -d 3 --tokens ids.npy -o out a.raw));
is(whose(one('out')), $want, 'rows without a header');
st_write('a.st', [ [ 'acts', 'F32', [ $docs, $length, $d ], \@flat ], [ 'other', 'F32', [5], [ 1 .. 5 ] ] ]);
runs(qw(act-cat --from safetensors --tokens ids.npy -o out a.st));
is(whose(one('out')), $want, 'a tensor');
runs(qw(act-cat --from npy --tokens ids.npy --tokens line.npy -o out a.npy flat.npy));
is(whose(one('out')), $want . ' ' . join(' ', map { "$docs.$docs.$_.$ids[$_]" } 0 .. $n - 1), 'two arrays, each with its own: numbers go on');

# Documents and positions given: contexts end where the document changes or the position does not grow.
my @doc = map { int $_ / 8 } 0 .. $n - 1;
my @pos = map { 5 + $_ % 4 } 0 .. $n - 1;
npy_write('doc.npy', '<i4', [$n], \@doc);
npy_write('pos.npy', '<i4', [$n], \@pos);
runs(qw(act-cat --from npy --docs doc.npy --positions pos.npy -o out flat.npy));
is(whose(one('out')), join(' ', map { "$doc[$_]." . int($_ / 4) . ".$pos[$_].-" } 0 .. $n - 1), '--docs and --positions');
runs(qw(act-cat --from npy --docs doc.npy -o out flat.npy));
is(whose(one('out')), join(' ', map { "$doc[$_].$doc[$_]." . $_ % 8 . '.-' } 0 .. $n - 1), '--docs alone: positions are counted');
runs(qw(act-cat --from npy --positions pos.npy -o out flat.npy));
is(whose(one('out')), join(' ', map { my $c = int $_ / 4; "$c.$c.$pos[$_].-" } 0 .. $n - 1), '--positions alone: a document each run');
runs(qw(act-cat --from npy --tokens ids.npy --where), "tok!=$ids[7]", qw(-o out a.npy));
is(whose(one('out')), join(' ', grep { !/\.$ids[7]$/ } split / /, $want), 'rows of padding are left out by --where');

# What the numbers stand for.
mkdir $_ for qw(bytes pieces unigram);
my $json = JSON::PP->new->utf8->canonical;
file_write('bytes/tokenizer.json', $json->encode({ model => { type => 'BPE', vocab => { map { ("\x{120}w$_" => $_) } 0 .. 298 }, merges => [] },
    pre_tokenizer => { type => 'Sequence', pretokenizers => [ { type => 'Split' }, { type => 'ByteLevel' } ] },
    added_tokens => [ { id => 299, content => "<end>\x{120}" } ] }));
file_write('pieces/tokenizer.json', $json->encode({ model => { type => 'BPE', vocab => { "<0x0A>" => 0, "<0xZZ>" => 1, map { ("\x{2581}w$_\x{e9}" => $_) } 2 .. 299 }, merges => [] } }));
file_write('unigram/tokenizer.json', $json->encode({ model => { type => 'Unigram', vocab => [ map { [ "\x{2581}w$_", -$_ ] } 0 .. 299 ] } }));
npy_write('some.npy', '<i8', [5], [ 0, 1, 7, 299, 400 ]);
npy_write('five.npy', '<f4', [ 5, 1 ], [ 1 .. 5 ]);
for ([ 'bytes', ' w0', ' w1', ' w7', "<end>\xc4\xa0", '' ], [ 'pieces', "\n", '<0xZZ>', " w7\xc3\xa9", " w299\xc3\xa9", '' ],
    [ 'unigram', ' w0', ' w1', ' w7', ' w299', '' ]) {
    my ($dir, @text) = @$_;
    runs(qw(act-cat --from npy --tokens some.npy -m), $dir, qw(-o out five.npy));
    my $out = one('out');
    is_deeply($out->{text}, \@text, "$dir: the text of tokens");
    ok($out->{header}{tok}{vocab} == 300 && $out->{header}{tok}{sha} =~ /^[0-9a-f]{64}$/, 'the header names the tokenizer');
}
my $demo = "$ENV{TOP}/pipelines/demo/model";
file_write('text', "In the beginning was the word, and so on; \xc3\xa9t\xc3\xa9 \xe2\x82\xac.\n");
runs('act-dump', '-m', $demo, qw(-p hook_embed --bos no -o dumped text));
my $dumped = one('dumped');
runs(qw(act-cat --to npy -o dumped.npy dumped));
npy_write('dumped.ids.npy', '<i4', [ scalar @{ $dumped->{tok} } ], $dumped->{tok});
runs(qw(act-cat --from npy --tokens dumped.ids.npy -m), $demo, qw(-o out dumped.npy));
is_deeply([ map { one('out')->{$_} } qw(x doc ctx pos tok text) ], [ map { $dumped->{$_} } qw(x doc ctx pos tok text) ],
    'what act-dump wrote, apart and together again');

# What does not fit.
npy_write('bad.npy', '<i8', [ $length, $docs ], \@ids);
misuse(3, qr/bad\.npy: 24 numbers in 2 axes, a\.npy has 24 rows in 2$/, qw(act-cat --from npy --tokens bad.npy -o no a.npy));
npy_write('bad.npy', '<i8', [23], [ @ids[ 0 .. 22 ] ]);
misuse(3, qr/bad\.npy: 23 numbers/, qw(act-cat --from npy --tokens bad.npy -o no a.npy));
misuse(3, qr/a\.raw: goes on behind its 23 rows/, qw(act-cat --from raw -d 3 --tokens bad.npy -o no a.raw));
npy_write('bad.npy', '<f4', [$n], \@ids);
misuse(3, qr/bad\.npy: items are f32 where whole numbers are wanted/, qw(act-cat --from npy --tokens bad.npy -o no a.npy));
npy_write('bad.npy', '<i8', [$n], [ @ids[ 0 .. 21 ], -100, 5 ]);
misuse(3, qr/bad\.npy: row 22: not a number from 0/, qw(act-cat --from npy --tokens bad.npy -o no a.npy));
file_write('bad.npy', substr file_read('ids.npy'), 0, 150);
misuse(3, qr/bad\.npy: cut short in row 5/, qw(act-cat --from npy --tokens bad.npy -o no a.npy));
file_write('bad.npy', file_read('a.npy') . 'x');
misuse(3, qr/bad\.npy: goes on behind its 24 rows/, qw(act-cat --from npy -o no bad.npy));
misuse(2, qr/--tokens: 1 for 2 inputs/, qw(act-cat --from npy --tokens ids.npy -o no a.npy a.npy));
misuse(2, qr/--tokens: for arrays/, qw(act-cat --tokens ids.npy -o no out));
misuse(2, qr/-m: /, qw(act-cat --from npy -m bytes -o no a.npy));
misuse(1, qr{none/tokenizer\.json: cannot open}, qw(act-cat --from npy --tokens ids.npy -m none -o no a.npy));
file_write('bytes/tokenizer.json', '{"model": {"vocab": 5}}');
misuse(3, qr{bytes/tokenizer\.json: model\.vocab}, qw(act-cat --from npy --tokens ids.npy -m bytes -o no a.npy));

# ---- safetensors ----

for my $type (qw(F32 F16 BF16 F64)) {
    my $as = { F32 => 'f32', F16 => 'f16', BF16 => 'bf16', F64 => 'f32' }->{$type};
    my $stored = round_to({ F64 => 'f64' }->{$type} // $as, \@flat);
    st_write('t.st', [ [ 'x', $type, [ $n, $d ], $stored ], [ 'y', 'F32', [ 1, 2 ], [ 1, 2 ] ] ]);
    runs(qw(act-cat --from safetensors --tensor x -o out t.st));
    my $out = one('out');
    is_deeply([ $out->{x}, $out->{header}{dtype} ], [ [ map { [ @{ round_to('f32', $stored) }[ $_ * $d .. $_ * $d + $d - 1 ] ] } 0 .. $n - 1 ], $as ], "a tensor of $type");
}
misuse(3, qr/t\.st: 2 tensors could be meant \(\w is one\): name it by --tensor/, qw(act-cat --from safetensors -o no t.st));
misuse(3, qr/t\.st: no tensor z/, qw(act-cat --from safetensors --tensor z -o no t.st));
misuse(3, qr/a\.st: other: an array of rank 1/, qw(act-cat --from safetensors --tensor other -o no a.st));
misuse(2, qr/--from safetensors needs a file/, qw(act-cat --from safetensors -o no));
misuse(2, qr/--tensor: for --from safetensors/, qw(act-cat --tensor x -o no out));

# ---- tables ----

my %columns = (doc => [ map { int $_ / 9 } 0 .. $n - 1 ], ctx => [ map { int $_ / 4 } 0 .. $n - 1 ], pos => [ map { $_ % 4 } 0 .. $n - 1 ],
    tok => \@ids, text => [ map { ("a\tb", "\\n", "\xff\n", '', "caf\xc3\xa9", "\xc2\x9b")[ $_ % 6 ] } 0 .. $n - 1 ],
    fields => { label => [ map { ('fr', '', "\\", 'en')[ $_ % 4 ] } 0 .. $n - 1 ], src => [ map { "s$_" } 0 .. $n - 1 ] });
my @hard = map { round_to('f32', [ $_ ])->[0] } 1e-45, -1.17549435e-38, 3.4028234e38, 1 / 3, -0.1, 16777217, 1.00000012;
my $odd = [ map { my $i = $_; [ map { $hard[ ($i + $_) % @hard ] } 1 .. $d ] } 0 .. $n - 1 ];
for my $x ($rows, $odd) {
    stream_write('t.saes', 'acts', $d, $x, %columns, batch => 7);
    runs(qw(act-cat --to tsv -o t.tsv t.saes));
    runs(qw(act-cat --from tsv -o out t.tsv));
    my ($out, $in) = (one('out'), one('t.saes'));
    is_deeply([ map { $out->{$_} } qw(x doc ctx pos tok text fields) ], [ map { $in->{$_} } qw(x doc ctx pos tok text fields) ],
        'out as a table and back: every number, byte and column');
    is(runs(qw(act-cat --to tsv out)), file_read('t.tsv'), 'and the same table again');
}
file_write('plain.tsv', "name\tx0\tx1\r\none\t1\t-2.5\r\ntwo\t3e-2\t4");
runs(qw(act-cat --from tsv -o out plain.tsv));
is_deeply([ map { one('out')->{$_} } qw(x fields) ], [ [ [ 1, -2.5 ], round_to('f32', [ 0.03, 4 ]) ], { name => [ 'one', 'two' ] } ], 'a table from elsewhere');
for ([ "x0\tx2\n1\t2\n", qr/line 1: column x2 where x1/ ], [ "a\n1\n", qr/line 1: 0 columns x0 x1/ ], [ '', qr/bad\.tsv: empty/ ],
    [ "x0\n1\t2\n", qr/line 2: more than 1 cells/ ], [ "x0\tx1\n1\t2\n3\n", qr/line 3: 1 cells, not 2/ ], [ "x0\n1\n\n", qr/line 3: '' is not a number/ ],
    [ "x0\none\n", qr/line 2: 'one' is not a number/ ], [ "doc\tx0\n-1\t2\n", qr/line 2: column doc: '-1'/ ], [ "x0\tx0\n", qr/line 1: column x0 where x1/ ],
    [ "Name\tx0\n", qr/line 1: a column cannot be called 'Name'/ ], [ "a\ta\tx0\n", qr/line 1: column a occurs twice/ ],
    [ "row\tfeature\tvalue\n", qr/line 1: a column row: tables of codes/ ], [ "x0\n1\0\n", qr/line 2: a zero byte/ ], [ "x0\ninf\n", qr/row 0: a value that is not finite/ ]) {
    file_write('bad.tsv', $_->[0]);
    misuse(3, $_->[1], qw(act-cat --from tsv -o no bad.tsv));
}
ok(!-e 'no', 'none of these left an output');

# ---- .npy, raw, safetensors: out and back ----

for my $type (qw(f32 f16)) {
    stream_write('t.saes', 'acts', $d, [ map { round_to($type, $_) } @$rows ], dtype => $type, batch => 5);
    runs(qw(act-cat --to npy -o t.npy t.saes));
    runs(qw(act-cat --from npy -o out t.npy));
    is_deeply([ one('out')->{x}, one('out')->{header}{dtype} ], [ one('t.saes')->{x}, $type ], "$type to .npy and back");
}
stream_write('t.saes', 'acts', $d, $odd, batch => 5);
runs(qw(act-cat --to raw -o t.raw t.saes));
runs(qw(act-cat --from raw -d 3 -o out t.raw));
is_deeply(one('out')->{x}, $odd, 'raw and back');

# ---- codes as a sparse matrix ----

my $codes = [ map { +{ map { $_ => 1 + int rand 9 } grep { rand() < 0.3 } 0 .. 19 } } 1 .. $n ];
$codes->[$_] = {} for 0, 7, $n - 1;
my %matrix = (doc => $columns{doc}, tok => $columns{tok});
stream_write('c.saes', 'codes', 20, $codes, %matrix, batch => 7);
sub member { my ($bytes) = @_; file_write('member.npy', $bytes); return npy_read('member.npy') }
sub matrix {
    my ($file) = @_;
    my $zip = eval { zip_read($file) };
    ok($zip, "$file is a zip of stored members") or return diag $@;
    my %m = map { ($_ => member($zip->{"$_.npy"})) } grep { $_ ne 'format' } map { s/\.npy$//r } @{ $zip->{''} };
    is(substr($zip->{'format.npy'}, -3) . ($zip->{'format.npy'} =~ /'descr': '\|S3', .*'shape': \(\)/ ? ' scalar' : ''), 'csr scalar', 'format csr');
    my ($ptr, $idx, $val) = map { $m{$_}{data} } qw(indptr indices data);
    my @rows = map { my $r = $_; +{ map { $idx->[$_] => $val->[$_] } $ptr->[$r] .. $ptr->[ $r + 1 ] - 1 } } 0 .. $#$ptr - 1;
    return ($m{shape}{data}, \@rows, \%m, $zip);
}
runs(qw(act-cat --to npz -o c.npz c.saes));
my ($shape, $back, $m, $zip) = matrix('c.npz');
is_deeply([ $shape, $back ], [ [ $n, 20 ], $codes ], 'codes: the rows of a matrix');
is_deeply([ $m->{doc}{data}, $m->{tok}{data}, $m->{pos} ], [ $columns{doc}, $columns{tok}, undef ], 'and whose they are');
is("@{$zip->{''}}[0 .. 4]", 'indices.npy indptr.npy format.npy shape.npy data.npy', 'members as SciPy has them');
is(runs(qw(act-cat --to npz c.saes)), file_read('c.npz'), 'to standard output, the same bytes');
runs(qw(act-cat --to npz --where doc=1 --scale 2 -o d.npz c.saes));
($shape, $back) = matrix('d.npz');
is_deeply([ $shape, $back ], [ [ 9, 20 ], [ map { my $r = $_; +{ map { $_ => 2 * $r->{$_} } keys %$r } } @$codes[ 9 .. 17 ] ] ], 'some rows, scaled');
stream_write('e.saes', 'codes', 20, []);
runs(qw(act-cat --to npz -o e.npz e.saes));
is_deeply([ (matrix('e.npz'))[ 0, 1 ] ], [ [ 0, 20 ], [] ], 'no rows at all');
stream_write('h.saes', 'codes', 20, $codes, dtype => 'f16');
runs(qw(act-cat --to npz -o h.npz c.saes h.saes -t f32));
is_deeply([ (matrix('h.npz'))[ 0, 1 ] ], [ [ 2 * $n, 20 ], [ @$codes, @$codes ] ], 'two streams; halves become f4');
is((matrix('h.npz'))[2]{doc}, undef, 'a column that one of them lacks is left out');
misuse(3, qr/t\.saes: activations are not sparse/, qw(act-cat --to npz t.saes));

# ---- tables of streams that differ ----

stream_write('with.saes', 'acts', $d, [ @$rows[ 0, 1 ] ], doc => [ 0, 0 ], text => [ 'a', 'b' ], fields => { label => [ 'x', 'y' ] });
stream_write('without.saes', 'acts', $d, [ @$rows[ 2, 3 ] ]);
my ($names, $table) = tsv_read(scalar runs(qw(act-cat --to tsv with.saes without.saes)));
is("@$names", 'doc text label x0 x1 x2', 'columns of the first stream');
is(join('|', map { "$_->{doc},$_->{text},$_->{label}" } @$table), '0,a,x|0,b,y|,,|,,', 'what the next one lacks is empty');
file_write('signed.saes', stream_bytes({ v => 1, kind => 'acts', d => 1, dtype => 'f32' },
    [ { n => 2, cols => [ [ 'x', 'f32', [ 2, 1 ], [ 1, 2 ] ], [ 'score', 'i64', [2], [ -3, 4 ], 'row' ] ] } ]));
is(runs(qw(act-cat --to tsv --json signed.saes)), qq({"score": -3, "x0": 1}\n{"score": 4, "x0": 2}\n), 'numbers with a sign');
is(runs(qw(act-cat --to tsv --json with.saes without.saes)) =~ /"doc": null, "text": null, "label": null/ ? 1 : 0, 1, 'null in JSON');
my ($code, $out, $err) = tool(qw(act-cat --to tsv without.saes with.saes));
ok($code == 0 && $err =~ /^act-cat: with\.saes: row 2 on has a column doc, which the first rows had not: the table leaves it out\n\z/ && 4 == ($out =~ tr/\n//) - 1,
    'what it has more is told');

# ---- numbers that do not fit ----

stream_write('big.saes', 'acts', 2, [ [ 1, 2 ], [ 70000, 3 ] ]);
misuse(3, qr/no: row 1: a value that is not finite as f16/, qw(act-cat -t f16 -o no --to), $_, 'big.saes') for qw(npy raw tsv);
misuse(3, qr/row 1: a value that is not finite/, qw(act-cat -t f16 -o no big.saes));
misuse(3, qr/no: row 0: a value that is not finite as f32/, qw(act-cat --scale 3e38 -o no --to), $_, 'big.saes') for qw(npy raw tsv);
npy_write('nan.npy', '<f4', [ 2, 1 ], [ 1, 9**9**9 ]);
misuse(3, qr/no: row 1: a value that is not finite/, qw(act-cat --from npy -o no --to), $_, 'nan.npy') for qw(npy raw tsv);
stream_write('bigcodes.saes', 'codes', 5, [ {}, { 1 => 5 }, { 2 => 1, 4 => 99999 } ]);
misuse(3, qr/no: row 2: a value that is not finite as f16/, qw(act-cat -t f16 -o no --to tsv bigcodes.saes));
ok(!-e 'no', 'nothing is left of them');
runs(qw(act-cat --allow-nan -t f16 -o big.npy --to npy big.saes));

# ---- labels ----

file_write('labels', "3\tthree\n4\tfour\n");
stream_write('l.saes', 'codes', 5, [ { 3 => 1, 1 => 2 } ], fields => { label => ['fr'], value => ['v'] });
($names, $table) = tsv_read(scalar runs(qw(act-cat --to tsv --labels labels l.saes)));
is("@$names", 'row.label row.value row feature label value', 'names of features behind them; a field of that name steps aside');
is(join('|', map { "$_->{feature}:$_->{label}:$_->{'row.label'}" } @$table), '1::fr|3:three:fr', 'and what they are');
misuse(2, qr/--labels: for --to tsv/, qw(act-cat --labels labels -o no l.saes));
misuse(3, qr/these are activations/, qw(act-cat --labels labels --to tsv t.saes));

# ---- the programs in saes(5) ----

# They need Python, which nothing here does: after a change of one run both (the writer, act-cat --check of what it writes, the
# reader on that) and put the new digest here.
my $page = file_read("$ENV{TOP}/man/man5/saes.5");
my %digest = (reader => '841a430bcf6ff25e20707d7943db4d1a8722a5fe105058b455a33f440bf8c89a', writer => '64ab304d8caedd6d7a6833311e0e6f6904886ecbeb7b1f6445b031e2d02721c5');
for ([ reader => 'def batches' ], [ writer => 'def record' ]) {
    my ($what, $word) = @$_;
    my ($program) = grep { /^\Q$word\E/m } $page =~ /^\.Bd -literal -offset indent\n(.*?)^\.Ed/msg;
    is(Digest::SHA::sha256_hex($program // ''), $digest{$what}, "the $what in Python is the one that was tried");
}

done_testing();
