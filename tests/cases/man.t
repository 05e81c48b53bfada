#!/usr/bin/perl
# man: the manual tells the truth. Pages are well formed, every tool has one, the options of a page are those of --help,
# with the same names, values, ranges and defaults in the same order; the commands of the EXAMPLES run; and what the
# pages say holds ("What holds") does.
#
# A command in EXAMPLES begins with "$ " in a literal display and goes on to the next such line. They run in one scratch
# folder, page after page in the order of a pipeline, as saetools(7) says.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use JSON::PP ();
use RefFiles;
use RefTest;
use Test::More;

my $top = $ENV{TOP};
my @tools = map { m{([^/]+)\.c$} } sort glob "$top/bin/*.c";
my %page = map { m{([^/]+)\.\d$} => $_ } glob "$top/man/man*/*.[0-9]";
my @order = qw(act-dump act-cat act-toy sae-fit sae-encode sae-cossim sae-stat sae-topk sae-patch act-splice saes saetools
    saetools-cookbook);

# ---- the source of a page ----

# The lines of section $name.
sub section {
    my ($tool, $name) = @_;
    my ($here, @lines) = (0);
    for (split /\n/, file_read($page{$tool})) {
        $here = $1 eq $name if /^\.Sh (.*)/;
        push @lines, $_ if $here && !/^\.Sh/;
    }
    return @lines;
}

# A line without the escapes that pages use in literal text.
sub plain {
    my ($line) = @_;
    my %named = (aq => "'", dq => '"', ti => '~', ha => '^', ga => '`');
    $line =~ s/\\(?:\((..)|(e)|(-)|(&))/$1 ? $named{$1} : $2 ? '\\' : $3 ? '-' : ''/ge;
    return $line;
}

# What an .It line of an option looks like: "-z, --compress[=LEVEL]".
sub item_text {
    my ($text, $glue, $macro, $close) = ('', 1, '', '');
    for (split ' ', $_[0]) {
        if (/^(Fl|Ar|Cm|Op|Ns)$/) {
            $macro = $1 if $1 ne 'Ns';
            $glue ||= $1 eq 'Ns';
            if ($1 eq 'Op') {
                $text .= $glue ? '[' : ' [';
                ($glue, $close) = (1, ']');
            }
            next;
        }
        $text .= ' ' if !$glue && $_ ne ',';
        $text .= ($macro eq 'Fl' && $_ ne ',' ? '-' : '') . $_;
        $glue = 0;
    }
    return $text . $close;
}

# Options as [ "-j, --threads N", "1 to 256; default ..." ], of a page and of --help.
sub page_options {
    my ($depth, @options) = (0);
    for (section($_[0], 'OPTIONS')) {
        $depth += /^\.Bl/ ? 1 : /^\.El/ ? -1 : 0;
        push @options, [ item_text($1), '' ] if $depth == 1 && /^\.It (.*)/;
        $options[-1][1] = $1 =~ s/\\://gr if @options && /^\.Bq (.*)/;
    }
    return @options;
}

sub help_options {
    my ($help, @options) = ($_[0]);
    $help =~ s/\n {28}(?=\S)/  /g;
    for (split /\n/, $help) {
        /^ {2,6}(-\S.*?)(?: {2,}(.*))?$/ or next;
        my ($left, $text) = ($1, $2 // '');
        $text =~ s/ {2,}/ /g;
        push @options, [ $left, $text =~ /\[([^\[\]]*)\]$/ ? $1 : '' ];
    }
    return @options;
}

sub commands {
    my ($literal, $open, @commands) = (0, 0);
    for (section($_[0], 'EXAMPLES')) {
        ($literal, $open) = (1, 0) if /^\.Bd -literal/;
        $literal = 0 if /^\.Ed/;
        if ($literal && plain($_) =~ /^\$ (.*)/) {
            push @commands, "$1\n";
            $open = 1;
        } elsif ($open && $literal && /^[^.]/) {
            $commands[-1] .= plain($_) . "\n";
        }
    }
    return @commands;
}

# Run a line of shell; standard error must be empty but for what sae-fit says of held-out rows. One test.
sub shell {
    my ($command) = @_;
    my ($code, $out, $err) = tool('sh', '-c', $command);
    (my $name = $command) =~ s/(?:\\\n|\s)+/ /g;
    $name =~ s/ $//;
    ok($code == 0 && $err =~ /\A(?:sae-fit: held-out rows: [^\n]*\n)?\z/, "runs: $name") or diag("exit code $code: $err");
    return $out;
}

# ---- form ----

is(join(' ', sort keys %page), join(' ', sort @tools, qw(saes saetools saetools-cookbook)), 'every tool has a page, and every page its subject');
is(join(' ', sort @order), join(' ', sort keys %page), 'the examples of every page are run');
my ($mandoc, $groff) = map { my $program = $_; scalar grep { -x "$_/$program" } split /:/, $ENV{PATH} } qw(mandoc groff);
for my $name (@order) {
    my $path = $page{$name};
    SKIP: {
        skip 'mandoc is not installed', 1 if !$mandoc;
        my (undef, $out, $err) = tool('mandoc', '-Tlint', '-Wwarning', $path);
        is("$out$err", '', "$name: lint");
    }
    SKIP: {
        skip 'groff is not installed', 1 if !$groff;
        my (undef, undef, $err) = tool(qw(groff -mandoc -Tutf8 -rLL=78n), $path);
        is($err, '', "$name: groff sets it in 80 columns");
    }
    my @missing = grep { !$page{$_} } map { /^\.Xr (\S+) \d/ ? $1 : () } section($name, 'SEE ALSO');
    is("@missing", '', "$name: SEE ALSO names pages that exist");
    @missing = grep { /^(act|sae)/ && !$page{$_} } file_read($path) =~ /^\.Xr (\S+)/mg;
    is("@missing", '', "$name: and so does its text");
}
for my $tool (@tools) {
    is(join(', ', file_read($page{$tool}) =~ /^\.Sh (.*)/mg),
        'NAME, SYNOPSIS, DESCRIPTION, OPTIONS, EXIT STATUS, EXAMPLES, SEE ALSO', "$tool: sections");
    my @want = help_options(scalar runs($tool, '--help'));
    my @have = page_options($tool);
    cmp_ok(scalar @want, '>', 5, "$tool: --help lists options");
    my %want = map { $_->[0] => $_->[1] } @want;
    my %have = map { $_->[0] => $_->[1] } @have;
    is(join("\n", grep { !exists $have{$_} } sort keys %want), '', "$tool: all options of --help are on the page");
    is(join("\n", grep { !exists $want{$_} } sort keys %have), '', "$tool: all options of the page are in --help");
    is_deeply(\%have, \%want, "$tool: with the same ranges and defaults");
    is(join("\n", map { $_->[0] } @have), join("\n", map { $_->[0] } @want), "$tool: in the same order");
}

# ---- examples ----

symlink "$top/pipelines/demo", 'demo' or BAIL_OUT("demo: $!");
# What the cookbook has from elsewhere: 40 documents of 10 rows, and their tokens.
srand 5;
npy_write('rows.npy', '<f4', [ 400, 8 ], [ map { gauss() } 1 .. 3200 ]);
npy_write('ids.npy', '<i4', [ 40, 10 ], [ map { 1 + int rand 4000 } 1 .. 400 ]);
for my $name (@order) {
    my @commands = commands($name);
    cmp_ok(scalar @commands, '>', 0, "$name: has examples");
    shell($_) for @commands;
}

# ---- what holds ----

# Two shell commands print the same bytes, and some.
sub same {
    my ($name, $one, $other) = @_;
    my ($x, $y) = map { scalar shell($_) } $one, $other;
    ok($x eq $y && length $x, $name) or diag(length($x) . ' and ' . length($y) . ' bytes');
}

sub rows_of_file { return stream_read($_[0])->[0]{x} }

runs(qw(act-cat --head 300 -o few.saes acts.saes));
runs(qw(act-cat --head 300 -t bf16 -o few16.saes acts.saes));

# act-cat
same('act-cat changes no row', 'act-cat acts.saes | act-cat --to raw', 'act-cat --to raw acts.saes');
same('what cat makes of two streams is a stream', 'cat few.saes few.saes | act-cat --to tsv',
    'act-cat --to tsv few.saes few.saes');
is(scalar @{ stream_parse(file_read('few.saes') x 2) }, 2, 'of two sections');
same('--head and --skip share out the rows', 'for o in --head --skip; do act-cat $o 123 --to raw few.saes; done',
    'act-cat --to raw few.saes');
SKIP: {
    skip 'zstd is not installed', 2 if !grep { -x "$_/zstd" } split /:/, $ENV{PATH};
    same('zstd -dc undoes -z', 'act-cat -z few.saes | zstd -dc', 'act-cat few.saes');
}
same('an array comes back from npy', 'act-cat --to npy few.saes | act-cat --from npy --to raw', 'act-cat --to raw few.saes');

# act-dump
my $dump = 'act-dump -m demo/model -n 600';
shell("$dump -p mlp_out.0 -p attn_out.0 -p resid_pre.0 -p resid_mid.0 -p resid_post.0 -O {hook}.saes demo/text.txt");
for (qw(mlp_out attn_out resid_post)) {
    same("$_: several hooks in one pass", "act-cat --to raw blocks.0.hook_$_.saes",
        "$dump -p $_.0 demo/text.txt | act-cat --to raw");
}
my %x = map { $_ => rows_of_file("blocks.0.hook_$_.saes") } qw(resid_pre attn_out resid_mid mlp_out resid_post);
for ([qw(resid_pre attn_out resid_mid)], [qw(resid_mid mlp_out resid_post)]) {
    my ($one, $more, $sum) = map { $x{$_} } @$_;
    my @added = map { my $r = $_; [ map { $one->[$r][$_] + $more->[$r][$_] } 0 .. 127 ] } 0 .. 599;
    near_rows($sum, \@added, 1e-5, "$_->[0] + $_->[1] = $_->[2]");
}
shell('act-dump -m demo/model -p resid_post.0 -n 1500 -o more.saes demo/text.txt');
near_rows($x{resid_post}, [ @{ rows_of_file('more.saes') }[ 0 .. 599 ] ], 1e-5, '-n N gives the first N rows');
shell('head -n 30 demo/text.txt >lines.txt; act-dump -m demo/model --tokenize -o lines.ids lines.txt');
same('--tokenize and --input ids are one way round', 'act-dump -m demo/model -p resid_post.0 lines.txt | act-cat --to tsv',
    'act-dump -m demo/model -p resid_post.0 --input ids lines.ids | act-cat --to tsv');


# saetools(7): the table of hook points
my %short;
my $table_row = qr/^\.It Li (\S+) Ta (\S+) Ta [DFV] Ta /;
for (section('saetools', 'HOOK POINTS')) {
    my ($full, $alias) = /$table_row/ or next;
    s/\bL\b/0/ for $full, $alias;
    $short{$full} = $alias;
}
my %info = shell('act-dump -m demo/model --info') =~ /^(\S*hook_\S+|logits)\t(\d+)/mg;
is(join(' ', grep { !$short{$_} } sort keys %info), '', 'the table has every hook point of the demo model');
is(join(' ', grep { !$info{$_} } sort keys %short), 'blocks.0.attn.hook_rot_k blocks.0.attn.hook_rot_q',
    'and no others but those of rotary models');
my @there = sort grep { $info{$_} } keys %short;
shell('act-dump -m demo/model -n 2 -O short.{hook} ' . join(' ', map { "-p $short{$_}" } @there) . ' lines.txt');
is(join(' ', grep { !-f "short.$_" } @there), '', 'the short forms mean what it says');

# saes(5): the reader in Python
SKIP: {
    skip 'Python lacks msgpack, numpy or zstandard', 2 if system "python3 -c 'import msgpack, numpy, zstandard' 2>.err";
    my ($reader) = join("\n", map { plain($_) } section('saes', 'EXAMPLES')) =~ /^(import .*?)\n\.Ed/ms;
    file_write('reader.py', "$reader\n");
    shell('act-cat -z -o few.saes.zst few.saes; sae-encode -o few.codes tied.sae few.saes; cat few.codes few.codes >two.codes');
    is(scalar(() = shell("for f in few.saes few16.saes few.saes.zst two.codes; do python3 reader.py \$f; done") =~ /doc/g), 5,
        'the reader in Python reads raw, bf16, zstd, codes and two sections');
}

# sae-encode, sae-patch
my ($feature) = shell('sae-encode tied.sae few.saes | sae-topk --alive -k 1') =~ /^(\d+)\t1\t/m;
for my $acts (qw(few.saes few16.saes)) {
    same("$acts: sae-patch without an edit is act-cat", "sae-patch tied.sae $acts | act-cat --to tsv",
        "act-cat --to tsv $acts");
    same("$acts: and so is scale all 1", "sae-patch -e 'scale all 1' tied.sae $acts | act-cat --to tsv",
        "act-cat --to tsv $acts");
}
same("zero F is $_", "sae-patch --no-history -e 'zero $feature' tied.sae few.saes",
    "sae-patch --no-history -e '$_' tied.sae few.saes") for "set $feature 0", "scale $feature 0";
same("$_: encode and decode are --replace", "sae-encode $_ few.saes | sae-encode -d $_ | act-cat --to raw",
    "sae-patch --replace $_ few.saes | act-cat --to raw") for qw(tied.sae untied.sae);
for my $sae (qw(tied.sae untied.sae)) {
    shell("sae-encode $sae few.saes | sae-encode -d -o hat.saes $sae");
    runs('sae-encode', '--error', '-o', 'error.saes', $sae, 'few.saes');
    my ($hat, $error) = map { rows_of_file($_) } qw(hat.saes error.saes);
    my @sum = map { my $r = $_; [ map { $hat->[$r][$_] + $error->[$r][$_] } 0 .. $#{ $hat->[0] } ] } 0 .. $#$hat;
    near_rows(\@sum, rows_of_file('few.saes'), 1e-6, "$sae: reconstruction and error sum to the row");
    runs('sae-patch', '-e', 'zero all', '--replace', '-o', 'none.saes', $sae, 'few.saes');
    my $b_dec = st_flat(st_read($sae), 'b_dec');
    near_rows(rows_of_file('none.saes'), [ ($b_dec) x 300 ], 1e-5, "$sae: --replace with zero all is b_dec");
}
cmp_ok(scalar(shell("sae-encode tied.sae few.saes | sae-topk -f $feature") =~ /^\d/mg), '>', 0,
    "feature $feature fires");
same("and is gone when zeroed", "sae-patch -e 'zero $feature' tied.sae few.saes | sae-encode --min 1e-5 tied.sae |
    sae-topk -f $feature", "printf 'feature\\trank\\tvalue\\tdoc\\tpos\\tcontext\\tcount\\tdensity\\n'");

# sae-patch: what comes back of an untied feature that was zeroed
($feature) = shell('sae-encode untied.sae few.saes | sae-topk --alive -k 1') =~ /^(\d+)\t1\t/m;
shell("sae-encode -o codes1.saes untied.sae few.saes
    sae-patch -q -e 'zero $feature' untied.sae few.saes | sae-encode -o codes2.saes untied.sae");
my ($before, $after) = map { [ map { $_->{$feature} // 0 } @{ stream_read($_)->[0]{codes} } ] } qw(codes1.saes codes2.saes);
my $untied = st_read('untied.sae');
my ($e, $d) = ([ map { $_->[$feature] } @{ st_rows($untied, 'W_enc') } ], st_rows($untied, 'W_dec')->[$feature]);
my $overlap = 0;
$overlap += $e->[$_] * $d->[$_] for 0 .. $#$d;
near_rows([$after], [ [ map { my $f = $_ * (1 - $overlap); $f > 0 ? $f : 0 } @$before ] ], 1e-5,
    'untied: f (1 - e . d) comes back');

# sae-fit: the tables of recipes, each below the options that hold where a line says nothing else
my ($table_head, $common, %recipe, %common_of, @column);
for (section('sae-fit', 'DESCRIPTION')) {
    $common = { split ' ' } if /^  --normalize/;
    $common = { %$common, split ' ' } if /^  --l1-warmup/;
    $table_head = /^(kind|preset) +-x/ ? $_ : /^\.Ed/ ? undef : $table_head;
    @column = map { index $table_head, $_ } qw(-x --l1 --lr and) if $table_head && $table_head eq $_;
    next if !$table_head || $table_head eq $_ || !/\S/;
    my $line = sprintf '%-80s', $_;
    my ($names, $more) = $line =~ /^(\S.*?) {2,}/ ? ($1, substr $line, $column[3]) : (undef, $line);
    if ($names) {
        my %has = $more =~ /as --kind (\S+)/ ? ('--kind' => $1) : (split ' ', $more);
        $has{'--ratio'} = (split ' ', substr $line, $column[0])[0];
        $has{'--l1'} = $1 if substr($line, $column[1] - 2, 9) =~ /(\d\S*)/;
        $has{'--lr'} = $1 if $column[2] > 0 && substr($line, $column[2] - 1, 7) =~ /(\d\S*)/;
        @recipe{ split /, /, $names } = (\%has) x split /, /, $names;
        @common_of{ split /, /, $names } = ($common) x split /, /, $names;
        $column[4] = [ split /, /, $names ];
    } else {
        my %has = split ' ', $more;
        for my $name (@{ $column[4] }) {
            $recipe{$name}{$_} = $has{$_} for keys %has;
        }
    }
}
my %fit = map { $_->[0] => $_->[1] } help_options(scalar runs(qw(sae-fit --help)));
my %is_kind = map { $_ => 1 } split /\|/, $fit{'--kind KIND'} =~ s/;.*//r;
is(join(' ', sort keys %recipe), join(' ', sort keys %is_kind, split /\|/, $fit{'--preset NAME'}),
    'the tables have all kinds and presets');
my %short_of = ('-k' => '--k', '-b' => '--batch');
my @tensors;
for my $name (sort keys %recipe) {
    next if $name =~ /^(?:ica|nmf|rica)$/;      # slow with as many dimensions
    shell('sae-fit ' . ($is_kind{$name} ? '--kind' : '--preset') . " $name -q -n 64 -o recipe.sae few.saes");
    my $history = JSON::PP->new->decode(st_read('recipe.sae')->{meta}{history});
    my @words = @{ $history->[-1]{args} };
    my %args;
    while (@words) {
        my $option = shift @words;
        $args{$option} = @words && $words[0] !~ /^--/ ? shift @words : 1;
    }
    $args{'--ratio'} = $args{'--d-sae'} / 512;
    my $twin = $recipe{ $recipe{$name}{'--kind'} // '' };
    my %want = (%{ $common_of{$name} }, $twin ? (%{ $common_of{ $recipe{$name}{'--kind'} } }, %$twin) : (), %{ $recipe{$name} });
    my @bad;
    for my $option (sort keys %want) {
        my ($long, $value) = ($short_of{$option} // $option, $want{$option});
        next if !defined $args{$long} && grep({ exists $_->{$option} } values %common_of) || $value =~ /%/;
        my $have = $args{$long} // 'nothing';
        push @bad, "$option is $have, not $value" if $have =~ /^[\d.]/ ? $have != $value : $have ne $value;
    }
    is("@bad", '', "the recipe of $name is as the page has it");
    push @tensors, keys %{ st_read('recipe.sae')->{tensor} };
}

# saetools(7): the tensors of a dictionary
shell('sae-fit --kind relu --enc-layers 2 -q -n 64 -o recipe.sae few.saes');
push @tensors, keys %{ st_read('recipe.sae')->{tensor} };
my %tensor = map { /^\.It Li (\w+) Ta / ? ($1 => 1) : () } section('saetools', 'SAE FILES');
cmp_ok(scalar keys %tensor, '>', 8, 'the table has the tensors');
is(join(' ', sort keys %{ { map { $_ => 1 } @tensors } }), join(' ', sort keys %tensor), 'those that dictionaries hold, and no others');

# sae-cossim
my ($names, $table) = tsv_read(scalar runs('sae-cossim', '-k', '1,10', 'tied.sae', 'tied.sae'));
is(scalar(grep { abs($_->{cos_1} - 1) > 1e-6 || $_->{nearest_1} != $_->{feature} } @$table), 0,
    'sae-cossim A A gives 1 and the feature itself');
($names, my $matrix) = tsv_read(scalar shell('sae-cossim --matrix tied.sae tied.sae | head -n 31'));
near_rows([ map { [ @$_{qw(cos_1 cos_10)} ] } @$table[ 0 .. 29 ] ],
    [ map { my %r = %$_; delete $r{feature}; [ (sort { $b <=> $a } values %r)[ 0, 9 ] ] } @$matrix ], 1e-6,
    'ranks are those of the sorted matrix');
done_testing();
