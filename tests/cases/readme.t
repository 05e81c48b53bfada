#!/usr/bin/perl
# readme: the commands of README.md run, one after the other in a folder like a checkout, and print what it says they print.
# With README_WRITE, README.md is written anew with what they print (and with README_SLOW those of minutes are run too).
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use Printed;
use RefFiles;
use RefTest;
use Test::More;

delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MODEL TEXT SAE HOOK OUT CACHE ROWS)};
my $readme = "$ENV{TOP}/README.md";
symlink $ENV{BIN}, 'bin';
symlink "$ENV{TOP}/$_", $_ for 'pipelines', 'tests';

# Stand-ins for what the pipeline brings from elsewhere: a model of three blocks and two texts.
mkdir $_ for 'build', 'build/try';
runs('perl', "$ENV{TOP}/tests/ref/mkmodel", qw(--family neox --d-model 32 --heads 4 --layers 3 --vocab 4096 --ctx 128 build/try/pythia-70m));
file_write('build/try/pythia-70m/tokenizer.json', file_read("$ENV{TOP}/pipelines/demo/model/tokenizer.json"));
my $text = file_read("$ENV{TOP}/pipelines/demo/text.txt");
file_write('build/try/corpus.txt', substr($text, 0, 60000));
file_write('build/try/other.txt', substr($text, -20000));

my $commands = printed_commands($readme, $ENV{README_SLOW});
cmp_ok(scalar @$commands, '>', 15, 'README.md has commands');
printed_run($commands);
for my $c (@$commands) {
    is(printed_differs($c), '', "README.md:$c->{line}: " . $c->{command} =~ s/\s+/ /gr);
}
printed_write($readme, $commands) if $ENV{README_WRITE};
done_testing();
