#!/usr/bin/perl
# model: act-dump on checkpoints, hooks and texts that are not as they should be: the exit code, one line that names tool and
# file, and no output left behind; and what its options promise of contexts, BOS and rows.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP;
use RefFiles;
use RefTest;
use Test::More;

sub mkmodel { system('perl', "$ENV{TOP}/tests/ref/mkmodel", @_) == 0 or die "mkmodel @_\n" }

mkmodel(qw(--family gpt2 --seed 3 good));
mkmodel(qw(--family neox --seed 4 neox));
mkmodel(qw(--family gpt2 --seed 3 --shards 2 sharded));
file_write('text', "In the beginning was the word.\nAnd the word was short.\n");
my @dump = qw(-p blocks.0.hook_resid_post -o out.saes);

# A copy of `good` with one thing wrong.
sub broken {
    my ($from, $change) = @_;
    system('rm', '-rf', 'bad') == 0 && system('cp', '-r', $from, 'bad') == 0 or die;
    $change->();
}

sub config {
    my ($key, $value) = @_;
    my $json = decode_json(file_read('bad/config.json'));
    if (defined $value) { $json->{$key} = $value } else { delete $json->{$key} }
    file_write('bad/config.json', encode_json($json));
}

sub refused {
    my ($code, $regex, @more) = @_;
    misuse($code, qr/\Aact-dump: .*$regex/, 'act-dump', '-m', 'bad', @dump, @more, 'text');
    ok(!-e 'out.saes' && !glob('.out*'), 'and leaves no output');
}

# ---- checkpoints ----
broken('good', sub { unlink 'bad/config.json' });
refused(1, qr{bad/config\.json: cannot open: No such file});
broken('good', sub { file_write('bad/config.json', '{"model_type": ') });
refused(3, qr{bad/config\.json: not JSON});
broken('good', sub { config(model_type => 'mamba') });
refused(3, qr{bad/config\.json: .*mamba});
broken('good', sub { config(n_embd => 25) });
refused(3, qr{bad/});
broken('good', sub { config(n_layer => 3) });
refused(3, qr{bad: tensor h\.2\.\S+ is missing});
broken('good', sub { config(vocab_size => 301) });
refused(3, qr{bad: tensor wte\.weight is \[300,24\], config\.json asks for \[301,24\]});
broken('good', sub { config(n_head => 1e15) });
refused(3, qr{bad/});
broken('good', sub { unlink 'bad/model.safetensors' });
refused(1, qr{bad: neither model\.safetensors nor model\.safetensors\.index\.json: No such file});
broken('good', sub { file_write('bad/model.safetensors', substr(file_read('bad/model.safetensors'), 0, -5)) });
refused(3, qr{bad/model\.safetensors});
broken('good', sub { unlink 'bad/tokenizer.json' });
refused(1, qr{bad/tokenizer\.json: cannot open});
broken('good', sub { file_write('bad/tokenizer.json', '{"model": {"type": "WordPiece"}}') });
refused(3, qr{bad/tokenizer\.json});
broken('sharded', sub { unlink((glob 'bad/model-00002*')[0]) });
refused(1, qr{bad/model-00002});
broken('sharded', sub {
    my $json = decode_json(file_read('bad/model.safetensors.index.json'));
    $_ = '../good/model.safetensors' for values %{ $json->{weight_map} };
    file_write('bad/model.safetensors.index.json', encode_json($json));
});
refused(3, qr{bad/model\.safetensors\.index\.json});
broken('neox', sub { config(rotary_pct => 7) });
refused(3, qr{bad/config\.json: the rotary part});
misuse(1, qr{\Aact-dump: nowhere/config\.json: cannot open}, qw(act-dump -m nowhere), @dump, 'text');

# ---- hooks, texts, ids, options ----
misuse(2, qr/no hook point blocks\.9\.hook_resid_post; there are .*hook_resid_mid/,
    qw(act-dump -m good -p blocks.9.hook_resid_post text));
misuse(2, qr/no hook point blocks\.0\.hook_resid_mid/, qw(act-dump -m neox -p blocks.0.hook_resid_mid text))
    if runs(qw(act-dump -m neox --info)) !~ /resid_mid/;
file_write('ids', "1 2 3\n4 299 300\n");
misuse(3, qr/\Aact-dump: ids: line 2: .*300/, qw(act-dump -m good), @dump, qw(--input ids ids));
file_write('ids', "1 two\n");
misuse(3, qr/\Aact-dump: ids: line 1: /, qw(act-dump -m good), @dump, qw(--input ids ids));
file_write('jsonl', qq({"text": "good"}\n{"text": 5}\n));
misuse(3, qr/\Aact-dump: jsonl: line 2: /, qw(act-dump -m good), @dump, qw(--input jsonl jsonl));
file_write('empty', '');
misuse(3, qr/\Aact-dump: empty: .*empty/, qw(act-dump -m good), @dump, 'empty');
misuse(1, qr/\Aact-dump: absent: cannot open/, qw(act-dump -m good), @dump, 'absent');
misuse(1, qr{\Aact-dump: no/such/out: cannot create}, qw(act-dump -m good -p hook_embed -o no/such/out text));
misuse(1, qr{\Aact-dump: /dev/full: write error}, qw(act-dump -m good -p hook_embed -o /dev/full text));
misuse(2, qr/several hooks need -O/, qw(act-dump -m good -p hook_embed -p logits text));
misuse(2, qr/-c: 1000 is more/, qw(act-dump -m good -c 1000), @dump, 'text');
misuse(2, qr/-p HOOK is missing/, qw(act-dump -m good text));
mkmodel(qw(--family gpt2 --seed 3 --no-bos nobos));
misuse(3, qr{nobos/config\.json: names no bos_token_id}, qw(act-dump -m nobos --bos yes), @dump, 'text');
ok(!-e 'out.saes', 'none of them left an output');

# ---- contexts, documents, rows ----
my $ids = join("\n", join(' ', 1 .. 20), join(' ', 21 .. 24), '', join(' ', 30 .. 32)) . "\n";
file_write('ids', $ids);
runs(qw(act-dump -m good --input ids -c 8 -p hook_embed -o a.saes ids));
my $tsv = runs(qw(act-cat --to tsv a.saes));
my @got = map { [ (split /\t/)[0 .. 3] ] } grep { !/^doc/ } split /\n/, $tsv;
# BOS takes position 0 of each context of 8 and is not written: contexts of 7 ids, none with two documents.
my @want = map { [ 0, int($_ / 7), $_ % 7 + 1, $_ + 1 ] } 0 .. 19;
push @want, map { [ 1, 3, $_ + 1, 21 + $_ ] } 0 .. 3;
push @want, map { [ 2, 4, $_ + 1, 30 + $_ ] } 0 .. 2;
is_deeply(\@got, \@want, 'documents, contexts, positions and tokens are as counted by hand');
runs(qw(act-dump -m good --input ids -c 8 --bos no -p hook_embed -o b.saes ids));
@got = map { [ (split /\t/)[0 .. 3] ] } grep { !/^doc/ } split /\n/, runs(qw(act-cat --to tsv b.saes));
@want = map { [ 0, int($_ / 8), $_ % 8, $_ + 1 ] } 0 .. 19;
push @want, map { [ 1, 3, $_, 21 + $_ ] } 0 .. 3;
push @want, map { [ 2, 4, $_, 30 + $_ ] } 0 .. 2;
is_deeply(\@got, \@want, 'and without BOS');
my $all = runs(qw(act-cat --no-history --to raw a.saes));
runs(qw(act-dump -m good --input ids -c 8 -n 9 -p hook_embed -o c.saes ids));
my $nine = runs(qw(act-cat --to raw c.saes));
ok(length $nine == 9 * length($all) / 27 && $nine eq substr($all, 0, length $nine), '-n 9 gives the first nine rows');

# ---- fields of JSON lines ----
my @docs = ('"en"', '"fr\u00e9\t"', 'null', '["a",1]', '17', '0.1', 'true', '"\u0000x"', '-9007199254740993', '1e300');
file_write('docs', join '', map { qq({"text": "the word", "label": $docs[$_], "meta": {"deep": {"er": $_}}, "a.b": "dot"}\n) } 0 .. $#docs);
file_write('more', qq({"text": "and it"}\n{"huge": 123456789012345678901, "text": "so", "label": "x", "a": {"b": "in"}}\n));
my @values = ('en', "fr\xc3\xa9\t", '', '["a",1]', '17', '0.1', 'true', "\0x", '-9007199254740993', '1e+300', '', 'x');
runs(qw(act-dump -m good --input jsonl -p hook_embed --fields), 'label,name=meta.deep.er,a.b', qw(-o fields docs more));
my $s = stream_read('fields')->[0];
my @of = map { my $d = $_; (grep { $s->{doc}[$_] == $d } 0 .. $#{ $s->{doc} })[-1] } 0 .. $#values;
is_deeply([ map { $s->{fields}{label}[$_] } @of ], \@values, 'strings as bytes, other values as JSON, null and nothing as empty');
is_deeply([ map { $s->{fields}{name}[$_] } @of ], [ 0 .. $#docs, '', '' ], 'dots lead into objects, under a name of its own');
is_deeply([ map { $s->{fields}{'a.b'}[$_] } @of ], [ ('dot') x @docs, '', 'in' ], 'a key that has a dot itself');
ok(!(grep { $s->{fields}{label}[$_] ne $values[ $s->{doc}[$_] ] } 0 .. $s->{rows} - 1) && $s->{rows} > @values, 'on every row of a document');
is("@{$s->{header}{history}[0]{args}}" =~ /--fields (\S+)/ && $1, 'label,name=meta.deep.er,a.b', 'the history says which');
my ($names, $table) = tsv_read(scalar runs(qw(act-cat --to tsv fields)));
is("@$names[0 .. 8]", 'doc ctx pos tok text label name a.b x0', 'a table has them as columns');
is($table->[ $of[1] ]{label}, "fr\xc3\xa9\t", "with escapes that lead back to them");
file_write('long', join '', map { my $v = $_ x 65536; qq({"text": "@{['word ' x 300]}", "v": "$v"}\n) } 'a', 'b');
runs(qw(act-dump -m good --input jsonl -p hook_embed --fields v -o long.saes long));
$s = stream_read('long.saes')->[0];
ok(!(grep { $s->{fields}{v}[$_] ne ('a', 'b')[ $s->{doc}[$_] ] x 65536 } 0 .. $s->{rows} - 1), 'long ones: records stay within bounds');
file_write('long', qq({"text": "a", "v": "@{['c' x 65537]}"}\n));
misuse(3, qr/long: line 1: field v: 65537 bytes, at most 65536/, qw(act-dump -m good --input jsonl --fields v), @dump, 'long');
file_write('huge', qq({"text": "a"}\n{"text": "a", "id": 123456789012345678901}\n));
misuse(3, qr/huge: line 2: field id: a whole number beyond 64 bits/, qw(act-dump -m good --input jsonl --fields id), @dump, 'huge');
for ([ 'Label', qr/a column cannot be called 'Label': say COLUMN=Label/ ], [ 'x', qr/'x'/ ], [ 'doc', qr/'doc'/ ], [ 'token', qr/'token'/ ],
    [ 'text_end', qr/'text_end'/ ], [ 'a,a', qr/a and a/ ], [ 'a,a_end', qr/a and a_end/ ], [ 'a=', qr/names no field/ ], [ ',', qr/no field/ ],
    [ join(',', 'aa' .. 'ay'), qr/at most 24/ ]) {
    misuse(2, $_->[1], qw(act-dump -m good --input jsonl --fields), $_->[0], @dump, 'docs');
}
misuse(2, qr/--fields: only the rows of --input jsonl/, qw(act-dump -m good --fields label), @dump, 'text');
my (undef, undef, $note) = tool(qw(act-dump -m good --input jsonl --fields lable -o fields -p hook_embed docs));
is($note, "act-dump: --fields: no document had the field lable: its column is empty\n", 'a field that no document has is told');
unlink 'out.saes';

# ---- the same bytes with any number of threads; several hooks in one pass are what each is alone ----
my $book = join '', map { "Line $_ of a text that is long enough for several contexts.\n" } 1 .. 300;
file_write('book', $book);
my @hooks = qw(blocks.0.mlp.hook_post blocks.1.hook_resid_post logits);
for my $threads (1, 2, 3) {
    runs('act-dump', '-q', "-j$threads", qw(-m neox -O), "t$threads-{hook}", (map { ('-p', $_) } @hooks), 'book');
    runs('act-dump', '-q', "-j$threads", qw(-m neox -p), $hooks[1], '-o', "s$threads", 'book');
}
for my $hook (@hooks) {
    my $one = file_read("t1-$hook");
    ok($one eq file_read("t2-$hook") && $one eq file_read("t3-$hook"), "$hook: -j1, -j2 and -j3 give the same bytes");
}
ok(runs(qw(act-cat --to raw s1)) eq runs('act-cat', '--to', 'raw', "t1-$hooks[1]"), 'a hook alone and among others: the same rows');
my $rows = file_read('s1');
ok($rows eq file_read('s2') && $rows eq file_read('s3'), 'and the same bytes');

# ---- --tokenize and --input ids are each other's inverse ----
runs(qw(act-dump -m neox --tokenize -o tokens book));
runs(qw(act-dump -q -m neox --input ids -p hook_embed -o from-ids tokens));
runs(qw(act-dump -q -m neox -p hook_embed -o from-text book));
ok(runs(qw(act-cat --to tsv from-ids)) eq runs(qw(act-cat --to tsv from-text)), 'ids written by --tokenize give the same rows');

# ---- what --bos auto did is told where others would do otherwise ----
for ([ qr/\Aact-dump: --bos auto: every context begins with token 264; [^\n]* --bos no does as they do\n\z/, 'neox' ], [ qr/\A\z/, qw(neox --bos yes) ],
    [ qr/\A\z/, qw(neox --bos no) ], [ qr/\A\z/, qw(neox -q) ], [ qr/\A\z/, 'good' ]) {
    my ($want, @how) = @$_;
    my ($code, undef, $err) = tool(qw(act-dump -p hook_embed -o told -m), @how, 'text');
    ok($code == 0 && $err =~ $want, "a note on BOS, or none: @how") or diag($err);
}

# ---- row types ----
runs(qw(act-dump -q -m neox -t f16 -p blocks.1.hook_resid_post -o half book));
runs(qw(act-cat -t f16 -o cast s1));
ok(runs(qw(act-cat --to raw half)) eq runs(qw(act-cat --to raw cast)), '-t f16 is act-cat -t f16 of the f32 rows');

done_testing();
