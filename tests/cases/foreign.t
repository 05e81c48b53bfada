#!/usr/bin/perl
# foreign: files that are not what they should be: named for what they are, refused where they were changed, shown without
# steering the terminal; and what a tool says and draws when it talks to one.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Digest::SHA qw(sha256_hex);
use POSIX qw(EIO EMFILE);
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

system(qw(act-toy -q -d 8 -g 16 -n 400 -o a.saes)) == 0 or BAIL_OUT('act-toy');
system(qw(sae-fit -q -j1 --kind relu -x 2 -b 8 -s 4 -o s.sae a.saes)) == 0 or BAIL_OUT('sae-fit');
runs(qw(sae-encode -o c.saes s.sae a.saes));

# ---- files of other kinds, and of ours in the wrong place ----

sub zip { my ($name) = @_; return "PK\3\4" . "\0" x 22 . pack('v', length $name) . "\0\0" . $name . 'x' x 100 }
my %foreign = (npz => [ zip('W_dec.npy'), qr/a \.npz archive of NumPy arrays, as Gemma Scope/ ],
    pt => [ zip('archive/data.pkl'), qr/a PyTorch file, as dictionary_learning/ ],
    pkl => [ "\x80\x02}q\0" . 'x' x 100, qr/a pickle/ ], npy => [ "\x93NUMPY\x01\0" . ' ' x 100, qr/a \.npy array/ ],
    parquet => [ 'PAR1' . 'x' x 100, qr/a Parquet file/ ], json => [ '{"d_in": 8, "d_sae": 16}', qr/JSON/ ],
    hdf => [ "\x89HDF\r\n\x1a\n" . 'x' x 100, qr/an HDF5 file/ ]);
for (sort keys %foreign) {
    file_write("in.$_", $foreign{$_}[0]);
    misuse(3, qr/\Asae-encode: in\.$_: not a safetensors file: it is $foreign{$_}[1]/, 'sae-encode', "in.$_", 'a.saes');
    misuse(3, qr/\Asae-topk: in\.$_: not a stream of activations or codes: it is $foreign{$_}[1]/, 'sae-topk', "in.$_");
}
system 'gzip -c s.sae >s.gz; zstd -q -o s.zst s.sae';
misuse(3, qr/s\.gz: not a safetensors file: it is compressed by gzip/, qw(sae-cossim s.gz));
misuse(3, qr/s\.zst: not a safetensors file: it is compressed by zstd/, qw(sae-cossim s.zst));
misuse(3, qr/a\.saes: not a safetensors file: it is a stream of activations or codes \(an SAE comes before/, qw(sae-encode a.saes s.sae));
misuse(3, qr/s\.sae: not a stream of activations or codes: it is a safetensors file \(an SAE comes before/, qw(sae-topk s.sae));

# ---- a dictionary whose metadata were changed ----

my $whole = file_read('s.sae');
my ($length) = unpack 'Q<', $whole;
my $meta = st_read('s.sae')->{meta};
{
    my $sealed = sha256_hex(join '', map { "$_\0$meta->{$_}\0" } sort grep { $_ ne 'digest' } keys %$meta);
    is((split ' ', $meta->{digest})[1], $sealed, 'the second digest is that of all other metadata');
    my ($wrong, $n, @how) = (0, 0);
    my $from = index $whole, '"__metadata__"';
    my $to = index $whole, '}', $from;
    for (my $at = $from + 16; $at < $to; $at += 3, $n++) {      # a bit of every third byte
        my $changed = $whole;
        substr($changed, $at, 1) ^= chr(1 << $at % 7);
        next if substr($changed, $from, $to - $from) =~ /"digest/ != substr($whole, $from, $to - $from) =~ /"digest/;
        file_write('f.sae', $changed);
        my ($code, undef, $err) = tool(qw(sae-fit --info f.sae));
        push @how, "byte $at: exit code $code: $err" if $code != 3 || $err !~ /\Asae-fit: f\.sae: [^\n]*\n\z/;
    }
    ok(!@how && $n > 100, "$n changes of the metadata: sae-fit --info believes none") or diag(@how[ 0 .. ($#how < 5 ? $#how : 5) ]);
    my $old = $whole =~ s/("digest":"[0-9a-f]{64}) [0-9a-f]{64}"/$1"/r;
    my $header = substr $old, 8, $length - 65;
    file_write('old.sae', pack('Q<', $length) . $header . ' ' x 65 . substr $old, 8 + length $header);
    misuse(0, qr/note: old\.sae is of release 0\.1\.0: its digest does not cover/, qw(sae-encode -o c2.saes old.sae a.saes));
    my $shown = runs(qw(sae-cossim s.sae));
    is((tool(qw(sae-cossim -q old.sae)))[1], $shown, 'and it is read');
}

# ---- a tokenizer that is there but cannot be used ----

system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 264 --d-model 8 --heads 2 --layers 1 --ctx 64 model)) == 0 or BAIL_OUT('mkmodel');
file_write('text', 'some words to look at ' x 5);
runs(qw(act-dump -q -m model -p resid_post.0 -o r.saes text));
runs(qw(sae-fit -q --kind topk -k 4 -x 1 -b 2 -o t.sae r.saes));
my @readers = ([qw(sae-topk --logits -m model -k 2 -f 0 t.sae)], [qw(act-splice -k 1 -m model -p resid_post.0 r.saes)]);
my $tokenizer = file_read('model/tokenizer.json');
unlink 'model/tokenizer.json';
misuse(0, qr/note: model has no tokenizer\.json: tokens have no text/, @{ $readers[0] });
runs($_->[0], '-q', @$_[ 1 .. $#$_ ]) for @readers;
file_write('model/tokenizer.json', substr $tokenizer, 0, length($tokenizer) / 2);
misuse(3, qr{model/tokenizer\.json: not JSON}, @$_) for @readers;
unlink 'model/tokenizer.json';
mkdir 'model/tokenizer.json';
misuse(1, qr{model/tokenizer\.json: cannot open: Is a directory}, @$_) for @readers;
rmdir 'model/tokenizer.json';
symlink 'nowhere', 'model/tokenizer.json';
misuse(1, qr{model/tokenizer\.json: cannot open}, @$_) for @readers;

# ---- names and numbers ----

misuse(1, qr/\Aact-cat: \?31m\?x: cannot open/, 'act-cat', "\xc2\x9b31m\xe2\x80\xaex");
misuse(2, qr/nothing: neither NAME\.npy nor FILE\.safetensors:TENSOR/, qw(sae-patch -e), 'vector 1 nothing', qw(s.sae a.saes));
runs(qw(act-toy -q -d 4 -g 8 -n 1e3 -o n1)), runs(qw(act-toy -q -d 4 -g 8 -n 1K -o n2));
ok(file_read('n1') eq file_read('n2'), '-n 1e3 is -n 1K, in the history too');
misuse(2, qr/--rows: '1\.0005e3' is not a whole number/, qw(act-toy -n 1.0005e3 -o n1));

# An error of fcntl() is not want of memory.
for my $n ($ENV{SANITIZE} ? () : 1 .. 4) {
    local @ENV{qw(LD_PRELOAD INJECT_CALL)} = ("$ENV{BUILD}/inject.so", 'fcntl:' . EMFILE . ":$n");
    my ($code, undef, $err) = tool(qw(act-cat a.saes));
    ok($code == 0 || ($code == 1 && $err =~ /\Aact-cat: <stdout>: cannot create: Too many open files\n\z/), "fcntl fails, number $n")
        or diag("exit code $code: $err");
}

# ---- a terminal ----

sub on_terminal { return `script -qec '$_[0]' /dev/null </dev/null` =~ tr/\r//dr }
SKIP: {
    skip 'no pseudo-terminal', 3 if system 'script -qec true /dev/null </dev/null >/dev/null 2>&1';
    like(on_terminal('sae-encode s.sae 2>&1 | cat'), qr/\Asae-encode: reading from the terminal until Ctrl-D; sae-encode --help/,
        'a word when standard input is a terminal');
    unlike(on_terminal('sae-encode -q s.sae 2>&1 | cat'), qr/terminal/, 'not with -q');
    system(qw(act-toy -q -d 64 -g 64 -n 200000 -o long.saes));
    system(qw(sae-fit -q --kind topk -k 8 -x 4 -n 5000 -o long.sae long.saes));
    my $drawn = `script -qec 'sae-encode -j1 long.sae long.saes | act-cat --info - >/dev/null' /dev/null </dev/null`;
    my @turns = $drawn =~ /(?:\A|\r)([a-z-]+): \d+ rows/g;
    my $changes = grep { $turns[$_] ne $turns[ $_ - 1 ] } 1 .. $#turns;
    ok(@turns > 1 && $changes <= 1, 'of two tools in a pipe one draws its progress, and only then the other') or diag("@turns");
}

done_testing();
