#!/usr/bin/perl
# completion: what bash and zsh offer at the end of a command line is what --help lists and what is there.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use Test::More;

my @tools = map { m{([^/]+)\.c$} } sort glob "$ENV{TOP}/bin/*.c";
my $made = "$ENV{BUILD}/completions";
symlink "$ENV{TOP}/pipelines/demo", 'demo' or BAIL_OUT("demo: $!");
mkdir 'with space';
file_write($_, '') for 'acts.saes', 'notes.txt', 'with space/a.sae';

# What bash offers behind these words, sorted.
sub bash {
    my (@words) = @_;
    my ($code, $out, $err) = tool('bash', '--norc', '-c', <<'END', $made, @words);
source "$0/saetools.bash"
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_saetools
printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort
END
    ok($code == 0 && $err eq '', "bash: @words") or diag("exit code $code: $err");
    return grep { length } split /\n/, $out;
}

sub help_words {
    my ($tool) = @_;
    my %word;
    for (split /\n/, scalar runs($tool, '--help')) {
        /^ {2,6}(-\S.*?)(?: {2,}|$)/ or next;
        $word{$_}++ for $1 =~ /(?:^|, )(--[a-z0-9-]+|-[A-Za-z])/g;
    }
    return sort keys %word;
}

my ($code, $out) = tool('bash', '--norc', '-c', 'source "$0/saetools.bash"; complete -p', $made);
is(join(' ', sort $out =~ /^complete -F _saetools (\S+)$/mg), "@tools", 'bash: every tool is completed');
for my $tool (@tools) {
    is(join(' ', bash($tool, '-')), join(' ', help_words($tool)), "$tool: the options are those of --help");
}
is(join(' ', bash(qw(act-cat --fr))), '--from', 'a long option');
is(join(' ', bash('act-cat', '--from', '')), 'npy raw safetensors stream tsv', 'choices');
is(join(' ', bash(qw(act-cat --from = r))), 'raw', 'choices behind an equals sign');
is(join(' ', bash(qw(act-dump -t b))), 'bf16', 'choices of a letter');
cmp_ok(scalar(my @kinds = bash('sae-fit', '--kind', '')), '>', 10, 'kinds');
my @hooks = sort map { /^(\S*hook_\S+|logits)\t/ ? $1 : () } split /\n/, scalar runs(qw(act-dump --info -m demo/model));
cmp_ok(scalar @hooks, '>', 10, 'the model has hook points');
is(join(' ', bash(@$_, '')), "@hooks", 'hook points of the model named before')
    for [qw(act-dump -m demo/model -p)], [qw(act-dump --model = demo/model --hook)], [qw(act-splice -mdemo/model --dump)];
is(join(' ', bash(qw(act-dump -m demo/model -p blocks.0.mlp.hook_po))), 'blocks.0.mlp.hook_post', 'a hook point');
is(join(' ', bash('act-dump', '-p', '')), '', 'none without a model');
is(join(' ', bash('act-dump', '-m', '')), 'demo with space', 'a model is a folder');
is(join(' ', bash(qw(sae-fit -o s.sae a))), 'acts.saes', 'operands are files');
is(join(' ', bash(qw(sae-fit --eval n))), 'notes.txt', 'and so is a FILE');
is(join(' ', bash(qw(act-cat -z n))), 'notes.txt', 'a word behind an option whose value is optional is an operand');
is(join(' ', bash('act-cat', '--head', '')), '', 'nothing is offered for a number');

SKIP: {
    skip 'zsh is not installed', 5 if !grep { -x "$_/zsh" } split /:/, $ENV{PATH};
    # A terminal of its own, in which keys are pressed: a unique answer is typed out.
    file_write('keys.zsh', <<'END');
zmodload zsh/zpty
zpty shell 'zsh -f -i'
zpty -w shell "PS1='' PS2='' RPS1=''; unsetopt zle_bracketed_paste; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; zstyle ':completion:*' menu no; bindkey '^I' complete-word"
zpty -w shell 'stty -echo; echo is""ready'
zpty -r shell text '*isready*'
zpty -n -w shell "$2"$'\t\x01print -r -- "GOT<\x05>"\n'
zpty -r -m shell text '*GOT<*>*'
print -r -- "$text"
zpty -d shell
END
    for (['act-cat --fr', 'act-cat --from'], ['act-cat --from=r', 'act-cat --from=raw'], ['sae-fit --kind jum', 'sae-fit --kind jumprelu'],
        ['act-dump -m demo/model -p blocks.0.mlp.hook_po', 'act-dump -m demo/model -p blocks.0.mlp.hook_post'],
        ['sae-fit -o s.sae act', 'sae-fit -o s.sae acts.saes']) {
        my (undef, $said, $err) = tool('timeout', '20', 'zsh', '-f', 'keys.zsh', $made, $_->[0]);
        like($said, qr/GOT<\Q$_->[1]\E ?>/, "zsh: $_->[0]") or diag($err);
    }
}
done_testing();
