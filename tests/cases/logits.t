#!/usr/bin/perl
# logits: sae-topk --logits as lines and as objects, names of features, and a tokenizer that is damaged, or none. (What the effects
# are is held to the formulas in grad.)
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use RefFiles;
use RefTest;
use SaeRef;
use Test::More;

srand 12;
system("$ENV{TOP}/tests/ref/mkmodel", qw(--vocab 300 --d-model 16 --heads 2 --layers 1 --ctx 32 model)) == 0 or die;
sae_write('s.sae', sae_random('tied', 16, 50));
my @logits = qw(sae-topk --logits -m model -p resid_post.0);

my ($names, $table) = tsv_read(runs(@logits, qw(-k 3 s.sae)));
is("@$names", 'feature rank up up_tok up_logit down down_tok down_logit', 'the columns');
is(join(' ', map { "$_->{feature}.$_->{rank}" } @$table), join(' ', map { my $f = $_; map { "$f.$_" } 1 .. 3 } 0 .. 49), 'a line a rank');
my %text = reverse %{ JSON::PP->new->utf8->decode(file_read('model/tokenizer.json'))->{model}{vocab} };
is(scalar(grep { $_->{up} =~ /^[\x21-\x7e]+$/ && $_->{up} !~ /\\/ && $_->{up} ne $text{ $_->{up_tok} } } @$table), 0, 'texts are those of the tokenizer');

# --json: an object a feature, its lists what the lines are.
my @json = map { JSON::PP->new->utf8->decode($_) } split /\n/, runs(@logits, qw(--json -k 3 s.sae));
is(scalar @json, 50, '--json: an object a feature');
for my $column (qw(up_tok up_logit down_tok down_logit)) {
    is(join(' ', map { @{ $_->{$column} } } @json), join(' ', map { $_->{$column} } @$table), "--json: $column is a list");
}
my @plain = grep { $table->[$_]{down} !~ /\\/ } 0 .. $#$table;
my @down = map { @{ $_->{down} } } @json;
is(join('|', @down[@plain]), join('|', map { $table->[$_]{down} } @plain), '--json: so are the texts');
is(join(' ', sort keys %{ $json[0] }), 'down down_logit down_tok feature up up_logit up_tok', 'and there is no rank');

# -f and --labels
file_write('names', "7\tseven\n");
($names, my $few) = tsv_read(runs(@logits, qw(-k 1 -f), '9,6-7', qw(--labels names s.sae)));
is("@$names[0 .. 2]", 'feature label rank', '--labels: a column behind the feature');
is(join('|', map { "$_->{feature}=$_->{label}" } @$few), '9=|6=|7=seven', '-f and --labels');
is(JSON::PP->new->decode(runs(@logits, qw(--json -k 1 -f 7 --labels names s.sae)))->{label}, 'seven', 'in JSON');

# ---- the tokenizer ----

my $whole = file_read('model/tokenizer.json');
for ([ 'cut', substr $whole, 0, 300 ], [ 'empty', '' ], [ 'of another kind', '{"model": {"type": "WordPiece"}}' ]) {
    my ($what, $bytes) = @$_;
    file_write('model/tokenizer.json', $bytes);
    misuse(3, qr{^sae-topk: model/tokenizer\.json: }, @logits, qw(-q -k 1 s.sae));
    my ($code, $out) = tool(@logits, qw(-k 1 -o no s.sae));
    ok($code == 3 && $out eq '' && !-e 'no', "a tokenizer.json that is $what leaves no table");
}
unlink 'model/tokenizer.json';
my ($code, $out, $err) = tool(@logits, qw(-k 1 -f 7 s.sae));
my $line = (split /\n/, $out)[1];
ok($code == 0 && $line =~ /^7\t1\t\t\d+\t\S+\t\t\d+\t\S+$/ && $err =~ /^sae-topk: note: model has no tokenizer\.json/, 'without one: numbers, and a note')
    or diag("$code $line $err");

done_testing();
