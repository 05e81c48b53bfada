/* test_geometry: what the rows of a dictionary say, against plain loops and dictionaries whose numbers are known. */
/* SPDX-License-Identifier: MIT */
#include "base/par.h"
#include "base/rng.h"
#include "maths/geometry.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng r;

static double dot(const float *a, const float *b, size_t d)
{
    double s = 0;
    for (size_t j = 0; j < d; j++)
        s += (double)a[j] * b[j];
    return s;
}

static float *normals(size_t n)
{
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)rng_normal(&r);
    return x;
}

/* |sum_i a_i b_i^T - I|_F, or without I the squares of the elements. */
static double distance(const float *a, const float *b, size_t m, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        for (size_t k = 0; k < d; k++) {
            double v = j == k ? -1 : 0;
            for (size_t i = 0; i < m; i++)
                v += (double)a[i * d + j] * b[i * d + k];
            sum += v * v;
        }
    return sqrt(sum);
}

static void check_random(size_t m, size_t d)
{
    float *dec = normals(m * d), *enc = normals(m * d);
    struct geometry g = geometry_of(dec, enc, m, d);
    double worst = 0, frame = 0, capacity = 0;
    size_t wrong = 0;
    for (size_t i = 0; i < m; i++) {
        const struct direction *s = &g.each[i];
        const float *a = dec + i * d, *e = enc + i * d;
        double norm = sqrt(dot(a, a, d)), sum = 0, most = 0, all = 0, rest = 0, best = 0;
        size_t at = 0, with = 0;
        double *n = malloc(d * sizeof *n);
        for (size_t j = 0; j < d; j++) {
            sum += fabs(a[j]);
            n[j] = e[j] - dot(e, a, d) * a[j] / (norm * norm);
            rest += n[j] * n[j];
            if (fabs(a[j]) > most)
                most = fabs(a[j]), at = j;
        }
        for (size_t k = 0; k < m; k++) {
            const float *b = dec + k * d;
            double c = dot(a, b, d), along = 0;
            all += c * c;
            frame += c * c / (norm * norm * dot(b, b, d));
            for (size_t j = 0; j < d; j++)
                along += n[j] * b[j] / sqrt(rest * dot(b, b, d));
            if (k != i && fabs(along) > fabs(best))
                best = along, with = k;
        }
        double cap = pow(norm, 4) / all;
        capacity += cap;
        double off[] = { s->dec_norm - norm, s->enc_norm - sqrt(dot(e, e, d)), s->align - dot(e, a, d), s->peak - most / norm,
                         s->participation - sum * sum / (norm * norm), s->capacity - cap,
                         s->denoise - sqrt(rest / dot(e, e, d)), m > 1 && d > 1 ? s->overlap - best : 0 };
        for (size_t k = 0; k < sizeof off / sizeof *off; k++)
            worst = fmax(worst, fabs(off[k]));
        wrong += s->peak_at != at || (m > 1 && d > 1 && s->overlap_with != with);
        wrong += (m == 1 || d == 1) && !isnan(s->overlap);
        free(n);
    }
    ok(wrong == 0 && worst < 2e-5, "%zu features in %zu dimensions: worst %.1e", m, d, worst);
    is_near(g.frame_potential / frame, 1, 1e-5, "frame potential");
    ok(g.frame_potential > (double)(m * m) / (double)d * (1 - 1e-6), "is at least m^2 / d");
    is_near(g.capacity / capacity, 1, 1e-5, "capacity");
    ok(g.capacity <= (double)(d < m ? d : m) * (1 + 1e-6), "is at most d, and at most m");
    is_near(g.tied_distance / distance(dec, dec, m, d), 1, 1e-5, "distance of D^T D from the identity");
    is_near(g.pass_distance / distance(dec, enc, m, d), 1, 1e-5, "and of D^T E");
    struct geometry h = geometry_of(dec, NULL, m, d);
    ok(h.pass_distance == h.tied_distance && isnan(h.each[0].align) && isnan(h.each[0].overlap), "without an encoder");
    par_start(3);
    struct geometry k = geometry_of(dec, enc, m, d);
    ok(!memcmp(g.each, k.each, m * sizeof *g.each) && !memcmp(g.pass, k.pass, d * d * 4), "the same with three threads");
    par_start(1);
    geometry_free(&g);
    geometry_free(&h);
    geometry_free(&k);
    free(dec);
    free(enc);
}

/* Three unit vectors at 120 degrees: the tightest frame of three in the plane. */
static void check_triangle(void)
{
    const float h = (float)sqrt(0.75), rows[] = { 1, 0, -0.5f, h, -0.5f, -h };
    struct geometry g = geometry_of(rows, rows, 3, 2);
    is_near(g.frame_potential, 4.5, 1e-6, "a triangle: frame potential is m^2 / d");
    is_near(g.capacity, 2, 1e-6, "all of the capacity is used");
    is_near(g.each[1].capacity, 2.0 / 3, 1e-6, "in equal parts");
    is_near(g.tied_distance, sqrt(0.5), 1e-6, "D^T D is 3/2 of the identity");
    ok(g.each[1].denoise < 1e-6 && isnan(g.each[1].overlap), "a tied encoder denoises nothing");
    is_near(g.each[1].align, 1, 1e-6, "and lies along its feature");
    geometry_free(&g);
}

/* Two features at cosine rho that never fire together: the encoder of one is blind to the other. */
static void check_exclusive(double rho)
{
    double s = sqrt(1 - rho * rho);
    const float dec[] = { 1, 0, (float)rho, (float)s };
    const float enc[] = { 1, (float)(-rho / s), 0, (float)(1 / s) };
    struct geometry g = geometry_of(dec, enc, 2, 2);
    is_near(g.each[0].overlap, -s, 1e-6, "exclusive pair at %g: what denoises one feature points away from the other", rho);
    ok(g.each[0].overlap_with == 1 && g.each[1].overlap_with == 0, "the other");
    is_near(g.each[0].denoise, rho, 1e-6, "it is rho of the encoder row");
    is_near(g.each[0].align, 1, 1e-6, "which reads its own feature in full");
    is_near(g.pass_distance, 0, 1e-6, "together they pass the plane as it is");
    geometry_free(&g);
}

static void check_random_law(void)
{
    enum { M = 512, D = 256 };
    float *dec = normals(M * D);
    struct geometry g = geometry_of(dec, NULL, M, D);
    double part = 0;
    for (size_t i = 0; i < M; i++)
        part += g.each[i].participation / M;
    is_near(part, 2 * D / 3.14159265358979, 1, "participation of random rows is 2 d / pi");
    free(dec);
    geometry_free(&g);
}

int main(void)
{
    rng_seed(&r, 8, 0);
    check_random(1, 1);
    check_random(5, 1);
    check_random(1, 6);
    check_random(40, 17);
    check_random(300, 65);
    check_triangle();
    check_exclusive(0.6);
    check_random_law();
    return done_testing();
}
