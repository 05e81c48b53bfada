#!/usr/bin/perl
# install: what `make install` puts where, that it works from there, and that `make uninstall` leaves what was there before.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use File::Find;
use RefFiles;
use RefTest;
use Test::More;

delete @ENV{qw(MAKEFLAGS MFLAGS MAKELEVEL MODEL TEXT SAE HOOK OUT CACHE ROWS DESTDIR prefix bindir mandir datadir STRIP)};
my $root = "$ENV{TEST_TMP}/root";
my @make = ('make', '-s', '-C', $ENV{TOP}, "BIN=$ENV{BIN}", "BUILD=$ENV{BUILD}", "DESTDIR=$root", 'prefix=/opt/sae');

# Everything below the root.
sub there {
    my @paths;
    find({ no_chdir => 1, wanted => sub { push @paths, substr($_, length $root) if $_ ne $root } }, $root);
    return sort @paths;
}

mkdir $_ for $root, "$root/opt", "$root/opt/sae", "$root/opt/sae/share";
file_write("$root/opt/sae/share/mine", "kept\n");
my @before = there();

for my $time (qw(first second)) {
    my ($code, undef, $err) = tool(@make, 'install');
    ok($code == 0 && $err !~ /error/i, "install, the $time time") or diag($err);
}
my @tools = map { m{([^/]+)\.c$} } glob "$ENV{TOP}/bin/*.c";
my $share = "$root/opt/sae/share";
is(join(' ', grep { !-x "$root/opt/sae/bin/$_" } @tools), '', 'every tool');
for my $page (map { m{/(man\d/.*)$} } glob "$ENV{TOP}/man/man?/*.?") {
    ok(-f "$share/man/$page", "the page $page");
}
is(join(' ', grep { !-f "$share/bash-completion/completions/$_" } @tools), '', 'completions for bash by the names of the tools');
ok(-f "$share/zsh/site-functions/_saetools", 'completions for zsh');
SKIP: {
    skip 'instrumented', 1 if $ENV{SANITIZE};
    is(scalar(() = file_read("$root/opt/sae/bin/act-cat") =~ /\.symtab/g), 0, 'programs are stripped');
}

# From there, with nothing of the checkout in reach.
my $path = join ':', "$root/opt/sae/bin", grep { $_ ne $ENV{BIN} } split /:/, $ENV{PATH};
sub installed { return tool('env', "PATH=$path", "PWD=$ENV{TEST_TMP}", @_) }
my ($code, $out, $err) = installed('sh', '-c', "act-dump -m $share/saetools/pipelines/demo/model -p mlp_post.0 -n 200
    $share/saetools/pipelines/demo/text.txt | act-cat --to tsv | wc -l" =~ s/\n\s*/ /gr);
is("$code $out$err", "0 201\n", 'the model runs over the text');
file_write('text', substr(file_read("$ENV{TOP}/pipelines/demo/text.txt"), 0, 60000));
($code, $out, $err) = installed('make', '-s', '-C', "$share/saetools/pipelines/ablate-feature", "TEXT=$ENV{TEST_TMP}/text",
    qw(ROWS=2000 TOKENS=1000 HELD=6000 GNUPLOT=none));
is($code, 0, 'a pipeline runs') or diag($err);
is((-f 'ablate-feature/ablate-feature.tsv' ? file_read('ablate-feature/ablate-feature.tsv') : ''), $out,
    'and leaves its results where make was called');

($code, undef, $err) = tool(@make, 'uninstall');
ok($code == 0 && $err eq '', 'uninstall') or diag($err);
is(join("\n", there()), join("\n", @before), 'leaves what was there before');
file_write("$root/opt/sae/share/mine", "kept\n");
tool(@make, 'install');
file_write("$root/opt/sae/share/man/man1/other.1", "of somebody else\n");
tool(@make, 'uninstall');
is(join("\n", there()), join("\n", sort @before, map { "/opt/sae/share/$_" } qw(man man/man1 man/man1/other.1)),
    'and a directory that somebody else uses by now');
done_testing();
