#!/usr/bin/perl
# cores: the arithmetic under other kernels of the BLAS than the one it picks on this CPU. What is measured against
# closed forms and independent arithmetic must hold whatever the order in which a product is summed.
# SPDX-License-Identifier: MIT
use strict;
use warnings;
use lib "$ENV{TOP}/tests/ref";
use RefFiles;
use RefTest;
use Test::More;

my ($core) = (tool(qw(sae-fit --version -v)))[1] =~ /^BLAS core (\S+)/m;
my $flags = -r '/proc/cpuinfo' && file_read('/proc/cpuinfo') =~ /^flags\s*: (.*)$/m ? " $1 " : '';
plan skip_all => 'not an OpenBLAS for x86-64' if !$flags || ($core // 'unknown') eq 'unknown';

# One with short vectors, and the widest one that is not the default.
my @wide = grep { $flags =~ / $_->[1] / && lc $_->[0] ne lc $core }
    [ SkylakeX => 'avx512f' ], [ Haswell => 'avx2' ], [ Sandybridge => 'avx' ];
my @cores = ('Prescott', @wide ? $wide[0][0] : ());
for my $other (@cores) {
    local $ENV{OPENBLAS_CORETYPE} = $other;
    for my $unit (qw(blas linalg nonlin lasso cosine geometry measure sae fit kinds components)) {
        my ($code, $out, $err) = tool("$ENV{BUILD}/tests/unit/test_$unit");
        is($code, 0, "test_$unit under $other") or diag(join("\n", grep { /^not ok/ } split /\n/, $out), $err);
    }
}
done_testing();
