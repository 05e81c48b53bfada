/* sae-fit: fit dictionaries to a stream of activations: the command line, and what of it is legal for which kind. The
 * work is that of sae_fit/fitrun.h. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/cli_blas.h"
#include "cli/shellword.h"
#include "fit/preset.h"
#include "kinds/kinds.h"
#include "sae_fit/fitinfo.h"
#include "sae_fit/fitrun.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES ((size_t)1 << 30)

enum { NORMALIZE_NONE, NORMALIZE_RMS };
enum { RESAMPLE_NONE, RESAMPLE_ANTHROPIC };
static const char *const normalize_names[] = { "none", "rms", NULL };
static const char *const center_names[] = { "zero", "mean", "median", "none", NULL };
static const char *const resample_names[] = { "none", "anthropic", NULL };
static const char *const shape_names[] = { "linear", "cosine", NULL };
static const char *const ortho_names[] = { "frame", "chunks", "max", NULL };
static const char *const inner_names[] = { "relu", "gelu", "softplus", NULL };
static const char *const yes_names[] = { "no", "yes", NULL };
static const char *const dec_names[] = { "random", "orthogonal", NULL };

/* Numbers not given are -1 or NaN until resolve(). */
static struct {
    bool info, resample_center;
    int l1_by_norm, kind, preset, units, normalize, center, resample, decay_shape, ortho_kind, inner, tied_init,
        dec_init;
    int64_t d_sae, batch, warmup, l1_warmup, rows, epochs, buffer, window, log_every, k, auxk, enc_layers, prefixes,
        iterations, resample_every, resample_times, resample_rows, every;
    double ratio, lr, decay, theta0, bandwidth, target_l0, aux_weight, p_end, p_from, p_to, ortho, recon, clip,
        dec_norm;
    struct opt_reals l1;
    const char *eval, *log, *init, *checkpoint, *resume;
} o = { .l1_by_norm = -1, .kind = -1, .preset = -1, .units = -1, .normalize = -1, .center = -1, .resample = -1,
        .decay_shape = -1,
        .ortho_kind = -1, .inner = -1, .tied_init = -1, .dec_init = -1, .d_sae = -1, .batch = -1, .warmup = -1,
        .l1_warmup = -1, .rows = -1, .epochs = 1, 
        .buffer = -1, .window = -1, .log_every = 100, .k = -1,
        .auxk = -1, .enc_layers = -1, .prefixes = -1, .iterations = -1, .resample_every = -1, .resample_times = -1,
        .resample_rows = -1, .every = 1000000, .ratio = NAN, .lr = NAN, .decay = NAN, .theta0 = NAN, .bandwidth = NAN,
        .target_l0 = NAN, .aux_weight = NAN, .p_end = NAN, .p_from = NAN, .p_to = NAN, .ortho = NAN, .recon = NAN,
        .clip = NAN, .dec_norm = NAN };

#define WIDE 9e15
#define DEFAULT_KIND "topk"                 /* by measurement: see Quality in the manual page */
#define THEIRS .shown = "the preset's or kind's", .numbers = true

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What is fitted" },
    { OPT_CHOICE, .name = "kind", .var = &o.kind, .arg = "KIND", .help = "kind of dictionary", .choices = kind_names,
      .shown = "the preset's, else " DEFAULT_KIND, .numbers = true },
    { OPT_CHOICE, .name = "preset", .var = &o.preset, .arg = "NAME", .help = "a published recipe (where its source "
      "is silent, ours), or good, a current one of our choice; options given besides win. Without it, defaults are the "
      "kind's own", .choices = preset_names, .shown = "", .numbers = true },
    { OPT_REAL, .letter = 'x', .name = "ratio", .var = &o.ratio, .arg = "RATIO", .help = "features for each "
      "dimension of the rows", .lo = 1e-6, .hi = 1e6, .shown = "the preset's or kind's" },
    { OPT_COUNT, .name = "d-sae", .var = &o.d_sae, .arg = "N", .help = "the same as a number of features", .lo = 1,
      .hi = STREAM_WIDTH, .shown = "from -x", .numbers = true },
    { OPT_STRING, .letter = 'o', .name = "output", .var = &opt.output, .arg = "FILE", .help = "the dictionary, "
      "complete or not at all; required. With {l1} in FILE, the LAMBDA of the fit stands there" },
    { OPT_CHOICE, .name = "normalize", .var = &o.normalize, .arg = "HOW", .help = "rms: fit rows times s, their "
      "mean square norm then being d_model; LAMBDA and what is logged are in those units, the dictionary is not",
      .choices = normalize_names, THEIRS },
    { OPT_CHOICE, .name = "center", .var = &o.center, .arg = "HOW", .help = "where b_dec begins, for kinds that "
      "learn one: at zero, or the mean or geometric median of the first buffer of rows; none: there is no b_dec",
      .choices = center_names, THEIRS },

    { .type = OPT_GROUP, .help = "The loss" },
    { OPT_REALS, .name = "l1", .var = &o.l1, .arg = "LAMBDA[,...]", .help = "weight of the penalty S: the loss is the "
      "mean over rows of |x_hat - x|^2 + LAMBDA S. Several: as many fits, side by side, of the same rows",
      .lo = 0, .hi = 1e30, THEIRS },
    { OPT_CHOICE, .name = "l1-units", .var = &o.units, .arg = "UNITS", .help = "what --l1 is meant in. cunningham: the "
      "squares are averaged over dimensions (LAMBDA times d_model); sharkey: f is averaged over features too "
      "(LAMBDA times d_model / d_sae)", .choices = preset_l1_unit_names, .shown = "the preset's or kind's", .numbers = true },
    { OPT_COUNT, .name = "l1-warmup", .var = &o.l1_warmup, .arg = "STEPS", .help = "LAMBDA rises from 0 in STEPS steps",
      .lo = 0, .hi = WIDE, THEIRS },
    { OPT_CHOICE, .name = "l1-by-norm", .var = &o.l1_by_norm, .arg = "HOW", .help = "yes: S = sum f_i |d_i| with free "
      "decoder norms, which are folded into the codes at the end", .choices = yes_names, THEIRS },
    { OPT_REAL, .name = "p-end", .var = &o.p_end, .arg = "P", .help = "S = sum f^p, p falling from 1 to P; needs the "
      "number of rows when below 1", .lo = 0.01, .hi = 1, THEIRS },
    { OPT_REAL, .name = "p-from", .var = &o.p_from, .arg = "SHARE", .help = "p begins to fall after SHARE of all steps",
      .lo = 0, .hi = 1, .shown = "0", .numbers = true },
    { OPT_REAL, .name = "p-to", .var = &o.p_to, .arg = "SHARE", .help = "p has fallen after SHARE of all steps",
      .lo = 0, .hi = 1, .shown = "1", .numbers = true },
    { OPT_REAL, .name = "recon", .var = &o.recon, .arg = "WEIGHT", .help = "weight of |x_hat - x|^2", .lo = 0,
      .hi = 1e9, .shown = "1", .numbers = true },
    { OPT_REAL, .name = "ortho", .var = &o.ortho, .arg = "GAMMA", .help = "weight of a penalty on decoder rows that "
      "are alike", .lo = 0, .hi = 1e9, .shown = "0", .numbers = true },
    { OPT_CHOICE, .name = "ortho-kind", .var = &o.ortho_kind, .arg = "WHICH", .help = "frame: the sum of all squared "
      "cosines; chunks: each row's largest within a random chunk, squared, the mean of them (OrtSAE); max: mean "
      "cosine + mean of each row's largest + largest of all", .choices = ortho_names, .shown = "frame",
      .numbers = true },

    { .type = OPT_GROUP, .help = "What only some kinds have" },
    { OPT_COUNT, .letter = 'k', .name = "k", .var = &o.k, .arg = "K", .help = "features that fire in a row, on the "
      "mean of a batch for batchtopk and matryoshka; pca, ica, nmf, random and identity: all unless K is given",
      .lo = 1, .hi = STREAM_WIDTH, THEIRS },
    { OPT_REAL, .name = "theta0", .var = &o.theta0, .arg = "THETA", .help = "jumprelu: thresholds at the start",
      .lo = 1e-9,
      .hi = 1e6, THEIRS },
    { OPT_REAL, .name = "bandwidth", .var = &o.bandwidth, .arg = "EPSILON", .help = "jumprelu: width of the kernel "
      "that stands in for the derivative of the step", .lo = 1e-9, .hi = 1e6, THEIRS },
    { OPT_REAL, .name = "target-l0", .var = &o.target_l0, .arg = "L0", .help = "jumprelu: S = (L0 of the batch / "
      "L0 - 1)^2", .lo = 1e-3, .hi = STREAM_WIDTH, .shown = "off", .numbers = true },
    { OPT_COUNT, .name = "auxk", .var = &o.auxk, .arg = "K", .help = "K dead features explain what the others leave; "
      "dead as --dead-window says; 0: off", .lo = 0, .hi = STREAM_WIDTH, THEIRS },
    { OPT_REAL, .name = "aux-weight", .var = &o.aux_weight, .arg = "WEIGHT", .help = "weight of that in the loss",
      .lo = 0,
      .hi = 1e6, .shown = "1/32", .numbers = true },
    { OPT_COUNT, .name = "enc-layers", .var = &o.enc_layers, .arg = "N", .help = "layers of the encoder", .lo = 1,
      .hi = 8,
      .shown = "1", .numbers = true },
    { OPT_CHOICE, .name = "inner", .var = &o.inner, .arg = "WHICH", .help = "activation of layers before the last",
      .choices = inner_names, .shown = "relu", .numbers = true },
    { OPT_COUNT, .name = "prefixes", .var = &o.prefixes, .arg = "N", .help = "matryoshka: nested dictionaries", .lo = 1,
      .hi = 64, THEIRS },
    { OPT_COUNT, .name = "iterations", .var = &o.iterations, .arg = "N", .help = "fista: iterations that search for "
      "the codes of a batch", .lo = 1, .hi = 1e6, THEIRS },

    { .type = OPT_GROUP, .help = "Where it begins" },
    { OPT_STRING, .name = "init", .var = &o.init, .arg = "FILE", .help = "rows to begin from (NAME.npy, or "
      "FILE.safetensors:TENSOR, a matrix of a model for instance), or a dictionary to go on from. Features beyond "
      "those begin at random", .numbers = true },
    { OPT_CHOICE, .name = "dec-init", .var = &o.dec_init, .arg = "HOW", .help = "decoder rows begin in random "
      "directions, or orthogonal, as far as the shape lets them", .choices = dec_names, THEIRS },
    { OPT_CHOICE, .name = "tied-init", .var = &o.tied_init, .arg = "HOW", .help = "the encoder begins as the decoder's "
      "copy", .choices = yes_names, THEIRS },
    { OPT_REAL, .name = "dec-norm", .var = &o.dec_norm, .arg = "NORM", .help = "norm of decoder rows at the start, "
      "with --l1-by-norm", .lo = 1e-6, .hi = 1e6, THEIRS },

    { .type = OPT_GROUP, .help = "Rows and steps" },
    { OPT_COUNT, .letter = 'n', .name = "rows", .var = &o.rows, .arg = "ROWS", .help = "use the first ROWS rows",
      .lo = 1, .hi = WIDE, .shown = "all", .numbers = true },
    { OPT_COUNT, .name = "epochs", .var = &o.epochs, .arg = "N",
      .help = "go through them N times; above 1 needs a file",
      .lo = 1, .hi = 1e6, .numbers = true },
    { OPT_COUNT, .name = "buffer", .var = &o.buffer, .arg = "ROWS", .help = "shuffle buffer: a row is drawn from among "
      "ROWS", .lo = 1, .hi = 1e9, .shown = "as many as 1 GiB holds; 32768 for kinds without --lr", .numbers = true },
    { OPT_COUNT, .letter = 'b', .name = "batch", .var = &o.batch, .arg = "ROWS", .help = "rows in a step", .lo = 1,
      .hi = 1 << 20, THEIRS },
    { OPT_REAL, .name = "lr", .var = &o.lr, .arg = "RATE", .help = "learning rate of Adam", .lo = 0,
      .hi = 1e6, THEIRS },
    { OPT_COUNT, .name = "warmup", .var = &o.warmup, .arg = "STEPS", .help = "the rate rises from 0 in STEPS steps",
      .lo = 0, .hi = WIDE, THEIRS },
    { OPT_REAL, .name = "decay", .var = &o.decay, .arg = "SHARE", .help = "the rate falls to 0 over the last SHARE "
      "of all steps; on a pipe that does not say how many rows it has this needs -n", .lo = 0, .hi = 1, THEIRS },
    { OPT_CHOICE, .name = "decay-shape", .var = &o.decay_shape, .arg = "SHAPE", .help = "how it falls",
      .choices = shape_names, THEIRS },
    { OPT_REAL, .name = "clip", .var = &o.clip, .arg = "NORM", .help = "scale a gradient whose norm is larger down to "
      "NORM; 0: never", .lo = 0, .hi = 1e30, THEIRS },

    { .type = OPT_GROUP, .help = "Dead features" },
    { OPT_COUNT, .name = "dead-window", .var = &o.window, .arg = "ROWS", .help = "a feature is dead that has not "
      "fired in the last ROWS rows", .lo = 1, .hi = WIDE, THEIRS },
    { OPT_CHOICE, .name = "resample", .var = &o.resample, .arg = "HOW", .help = "anthropic: features that have not "
      "fired in the half of --resample-every before an event begin anew, as rows with a large loss",
      .choices = resample_names,
      THEIRS },
    { OPT_COUNT, .name = "resample-every", .var = &o.resample_every, .arg = "STEPS", .help = "steps between events",
      .lo = 2, .hi = WIDE, .shown = "25000, or a tenth of all steps where that is less", .numbers = true },
    { OPT_COUNT, .name = "resample-times", .var = &o.resample_times, .arg = "N", .help = "events", .lo = 1, .hi = WIDE,
      .shown = "4", .numbers = true },
    { OPT_COUNT, .name = "resample-rows", .var = &o.resample_rows, .arg = "ROWS", .help = "an event draws from ROWS "
      "rows of the shuffle buffer", .lo = 1, .hi = 1e9, .shown = "819200, or all of the buffer where that is less",
      .numbers = true },
    { OPT_FLAG, .name = "resample-center", .var = &o.resample_center, .help = "new rows are directions of x - b_dec, "
      "not of x", .numbers = true },

    { .type = OPT_GROUP, .help = "Watching" },
    { OPT_STRING, .name = "log", .var = &o.log, .arg = "FILE", .help = "table of step, rows, loss, mse, fvu, l0, "
      "dead (as --dead-window says), lr, seconds and resampled; each line is of the steps since the line before; {l1} "
      "as with -o" },
    { OPT_COUNT, .name = "log-every", .var = &o.log_every, .arg = "STEPS", .help = "a line each STEPS steps", .lo = 1,
      .hi = WIDE },
    { OPT_STRING, .name = "eval", .var = &o.eval, .arg = "FILE", .help = "measure these held-out rows too: at every "
      "line of the log, and at the end; dead: in none of them" },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print what the file SAE holds, and the commands that would "
      "make it again" },

    { .type = OPT_GROUP, .help = "Stopping and going on" },
    { OPT_STRING, .name = "checkpoint", .var = &o.checkpoint, .arg = "FILE", .help = "keep the state of the fit in "
      "FILE, written each --every rows and on SIGINT and SIGTERM" },
    { OPT_COUNT, .name = "every", .var = &o.every, .arg = "ROWS", .help = "rows between two checkpoints", .lo = 1,
      .hi = WIDE },
    { OPT_STRING, .name = "resume", .var = &o.resume, .arg = "FILE", .help = "go on from a checkpoint, with the same "
      "options and input; the result is that of a run without a break. If --checkpoint names the same FILE and it is "
      "not there yet, begin" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-fit", .synopsis = "-o SAE [OPTION]... [ACTS]\n       sae-fit --info SAE",
    .about = "Fit a dictionary to a stream of activations.",
    .common = OPT_SEED | OPT_HISTORY | OPT_JSON, .max_operands = 1, .version = cli_blas_version,
};

/* ---- the options ---- */

/* Options that stand for a field of struct fit_options, and what a kind must be able to do for each. */
/* double, size_t, uint64_t, int; bool by a choice. */
enum field_type { REAL, SIZE, WHOLE, CHOICE, CHOSEN };
static const struct field {
    const char *name;
    void *var;
    enum field_type type;
    size_t at;
    unsigned uses;
} fields[] = {
#define FIELD(name, var, type, field, uses) { name, &o.var, type, offsetof(struct fit_options, field), uses }
    FIELD("--normalize", normalize, CHOSEN, rms, USES_SCALE),
    FIELD("--center", center, CHOICE, center, USES_CENTER),
    FIELD("--l1-warmup", l1_warmup, WHOLE, l1_warmup, USES_L1),
    FIELD("--l1-by-norm", l1_by_norm, CHOSEN, norm_weighted, USES_NORM_WEIGHT),
    FIELD("--p-end", p_end, REAL, p_end, USES_P),
    FIELD("--p-from", p_from, REAL, p_from, USES_P),
    FIELD("--p-to", p_to, REAL, p_to, USES_P),
    FIELD("--recon", recon, REAL, recon, USES_RECON),
    FIELD("--ortho", ortho, REAL, ortho, USES_ORTHO),
    FIELD("--ortho-kind", ortho_kind, CHOICE, ortho_kind, USES_ORTHO),
    FIELD("-k", k, SIZE, k, USES_K),
    FIELD("--theta0", theta0, REAL, theta0, USES_THETA),
    FIELD("--bandwidth", bandwidth, REAL, bandwidth, USES_THETA),
    FIELD("--target-l0", target_l0, REAL, target_l0, USES_THETA),
    FIELD("--auxk", auxk, SIZE, aux_k, USES_AUX),
    FIELD("--aux-weight", aux_weight, REAL, aux_weight, USES_AUX),
    FIELD("--enc-layers", enc_layers, SIZE, enc_layers, USES_LAYERS),
    FIELD("--inner", inner, CHOICE, inner, USES_LAYERS),
    FIELD("--prefixes", prefixes, SIZE, prefixes, USES_PREFIXES),
    FIELD("--iterations", iterations, SIZE, inner_iterations, USES_ITERATIONS),
    FIELD("--dec-init", dec_init, CHOSEN, orthogonal, USES_TIED_INIT),
    FIELD("--tied-init", tied_init, CHOSEN, tied_init, USES_TIED_INIT),
    FIELD("--dec-norm", dec_norm, REAL, dec_norm, USES_DEC_NORM),
    FIELD("--lr", lr, REAL, lr, USES_ADAM),
    FIELD("--warmup", warmup, WHOLE, warmup, USES_ADAM),
    FIELD("--decay", decay, REAL, decay, USES_ADAM),
    FIELD("--decay-shape", decay_shape, CHOSEN, cosine, USES_ADAM),
    FIELD("--clip", clip, REAL, clip, USES_CLIP),
    FIELD("--dead-window", window, WHOLE, dead_window, 0),
#undef FIELD
};

static void refuse(const char *name)
{
    opt_misuse("%s means nothing to kind %s%s", name, kind_names[o.kind],
               opt_given(&o.kind) || o.preset >= 0 ? "" : ", the one without --kind: name another, relu for instance");
}

/* The option's value to its field. */
static void field_take(const struct field *f, struct fit_options *to)
{
    void *at = (char *)to + f->at;
    switch (f->type) {
    case REAL: *(double *)at = *(double *)f->var; break;
    case SIZE: *(size_t *)at = (size_t)*(int64_t *)f->var; break;
    case WHOLE: *(uint64_t *)at = (uint64_t)*(int64_t *)f->var; break;
    case CHOICE: *(int *)at = *(int *)f->var; break;
    case CHOSEN: *(bool *)at = *(int *)f->var == 1; break;
    }
}

/* The field's value to the option, so that the history holds it. */
static void field_give(const struct field *f, const struct fit_options *from)
{
    const void *at = (const char *)from + f->at;
    switch (f->type) {
    case REAL: *(double *)f->var = *(const double *)at; break;
    case SIZE: *(int64_t *)f->var = (int64_t)*(const size_t *)at; break;
    case WHOLE: *(int64_t *)f->var = (int64_t)*(const uint64_t *)at; break;
    case CHOICE: *(int *)f->var = *(const int *)at; break;
    case CHOSEN: *(int *)f->var = *(const bool *)at; break;
    }
}

static const struct preset *recipe_in_force(void)
{
    return o.preset >= 0 ? presets[o.preset] : kinds[o.kind]->defaults;
}

static void resolve_size(const struct preset *r, size_t d)
{
    if (opt_given(&o.ratio) && opt_given(&o.d_sae))
        opt_misuse("-x and --d-sae exclude each other");
    if (!opt_given(&o.d_sae))
        o.d_sae = (int64_t)llround((opt_given(&o.ratio) ? o.ratio : r->ratio) * (double)d);
    if (o.d_sae < 1 || o.d_sae > STREAM_WIDTH)
        opt_misuse("-x: %" PRId64 " features, not 1 to %d", o.d_sae, STREAM_WIDTH);
}

/* lambda, its units and the scale of rows it is meant for: each the recipe's until its own option is given. A preset's
 * are for its own kind. */
static void resolve_l1(const struct preset *r, unsigned uses)
{
    static double usual;
    const struct preset *own = !strcmp(kind_names[o.kind], r->kind) ? r : kinds[o.kind]->defaults;
    bool given = opt_given(&o.l1);
    if (given && !(uses & USES_L1))
        refuse("--l1");
    if (opt_given(&o.units) && !given)
        opt_misuse("--l1-units needs --l1");
    if (o.normalize < 0 && uses & USES_SCALE)
        o.normalize = own->rms ? NORMALIZE_RMS : NORMALIZE_NONE;
    if (!(uses & USES_L1))
        return;
    if (o.units < 0)
        o.units = (int)own->units;
    if (!given) {
        usual = own->l1;
        o.l1 = (struct opt_reals){ .item = &usual, .n = 1 };
    }
    if (!given && (o.normalize == NORMALIZE_RMS) != own->rms)
        tool_warn("note: --l1 is %g, which is meant for rows that are %s", usual, own->rms ? "scaled" : "not scaled");
}

/* What is legal depends on the size. */
static void check_ranges(const struct fit_options *f)
{
    if (f->k > f->d_sae)
        opt_misuse("-k %zu: there are %zu features, so 1 to %zu", f->k, f->d_sae, f->d_sae);
    if (f->aux_k > f->d_sae && opt_given(&o.auxk))
        opt_misuse("--auxk %zu: there are %zu features, so 0 to %zu", f->aux_k, f->d_sae, f->d_sae);
    if (f->prefixes > f->d_sae)
        opt_misuse("--prefixes %zu: there are %zu features, so 1 to %zu", f->prefixes, f->d_sae, f->d_sae);
    if (f->target_l0 > (double)f->d_sae)
        opt_misuse("--target-l0 %g: there are %zu features, so up to %zu", f->target_l0, f->d_sae, f->d_sae);
    if (f->p_from > f->p_to)
        opt_misuse("--p-from %g is behind --p-to %g", f->p_from, f->p_to);
    if (f->enc_layers > 1 && (o.init || o.resample == RESAMPLE_ANTHROPIC))
        opt_misuse("%s needs an encoder of one layer, not --enc-layers %zu", o.init ? "--init" : "--resample",
                   f->enc_layers);
}

/* Which option or preset needs the number of all rows; NULL: none. */
static const char *schedule_of(const struct fit_options *f, const struct preset *r)
{
    if (f->decay > 0)
        return "--decay";
    if (f->p_end < 1)
        return "--p-end";
    if (o.resample == RESAMPLE_ANTHROPIC && !opt_given(&o.resample_every))
        return "--resample without --resample-every";
    if (o.preset >= 0 && r->l1_warmup_share > 0 && !opt_given(&o.l1_warmup))
        return "the preset without --l1-warmup";
    return NULL;
}

/* The number of all rows, 0: not known. A kind by itself leaves out then what depends on it; what was asked for by an
 * option or preset is refused. */
static uint64_t resolve_total(struct fit_options *f, const struct preset *r, const struct fitrows *src)
{
    bool warms = r->l1_warmup_share > 0 && f->kind->accepts & USES_L1 && !opt_given(&o.l1_warmup);
    uint64_t total = fitrows_total(src, warms || schedule_of(f, r));
    if (!total && f->decay > 0 && o.preset < 0 && !opt_given(&o.decay)) {
        f->decay = o.decay = 0;
        tool_warn("note: %s does not state how many rows it has, so the rate will not fall at the end: give -n",
                  stream_name(src->in));
    }
    if (!total && schedule_of(f, r))
        opt_misuse("%s needs the number of rows, which %s does not state: give -n", schedule_of(f, r),
                   stream_name(src->in));
    f->steps = (total + (uint64_t)o.batch - 1) / (uint64_t)o.batch;
    if (warms)
        o.l1_warmup = (int64_t)(f->l1_warmup = (uint64_t)(r->l1_warmup_share * (double)f->steps));
    return total;
}

static void resolve_resampling(struct fit_options *f, unsigned uses, const struct preset *r)
{
    static const struct {
        const void *var;
        const char *name;
    } only[] = { { &o.resample_every, "--resample-every" }, { &o.resample_times, "--resample-times" },
                 { &o.resample_rows, "--resample-rows" }, { &o.resample_center, "--resample-center" } };
    if (o.resample == RESAMPLE_ANTHROPIC && !(uses & USES_RESAMPLE))
        refuse("--resample anthropic");
    if (o.resample < 0)
        o.resample = r->resample && uses & USES_RESAMPLE && f->enc_layers == 1 ? RESAMPLE_ANTHROPIC : RESAMPLE_NONE;
    for (size_t i = 0; i < sizeof only / sizeof *only; i++)
        if (o.resample == RESAMPLE_NONE && opt_given(only[i].var))
            opt_misuse("%s needs --resample anthropic", only[i].name);
    if (o.resample_rows > o.buffer)
        opt_misuse("--resample-rows %" PRId64 ": the shuffle buffer has 1 to %" PRId64 " (see --buffer)",
                   o.resample_rows, o.buffer);
}

/* The numbers of resampling, once the number of steps is known. */
static void plan_resampling(struct fit_options *f)
{
    if (o.resample != RESAMPLE_ANTHROPIC)
        return;
    uint64_t tenth = f->steps / 10 < 2 ? 2 : f->steps / 10;
    if (!opt_given(&o.resample_every))
        o.resample_every = (int64_t)(f->steps && tenth < 25000 ? tenth : 25000);
    if (!opt_given(&o.resample_times))
        o.resample_times = 4;
    if (!opt_given(&o.resample_rows))
        o.resample_rows = o.buffer < 819200 ? o.buffer : 819200;
    f->resample_every = (uint64_t)o.resample_every;
    if (__builtin_mul_overflow(f->resample_every, (uint64_t)o.resample_times, &f->resample_last))
        f->resample_last = UINT64_MAX;
    f->resample_rows = (uint64_t)o.resample_rows;
    f->resample_center = o.resample_center;
}

static size_t at_most(size_t n, size_t bound)
{
    return n < bound ? n : bound;
}

/* The rows of the shuffle buffer, the same on every machine. Kinds that read rows in their order, or all of the first
 * buffer at once, need not so many. */
static void resolve_buffer(size_t d, unsigned uses)
{
    if (o.buffer < 0)
        o.buffer = uses & USES_ADAM ? (int64_t)at_most(BUFFER_BYTES / (d * sizeof(float)), 1000000000) : 32768;
}

/* Each option not given takes the recipe's value, so that the history holds them all. lambda is left to the jobs. */
static struct fit_options resolve(const struct fitrows *src, uint64_t *total)
{
    size_t d = src->in->d;
    const char *name = o.preset >= 0 ? presets[o.preset]->kind : DEFAULT_KIND;
    for (int i = 0; o.kind < 0; i++)
        if (!strcmp(kind_names[i], name))
            o.kind = i;
    const struct preset *r = recipe_in_force();
    const struct kind *kind = kinds[o.kind];
    struct fit_options f = preset_options(r, kind);
    resolve_size(r, d);
    resolve_l1(r, kind->accepts);
    f.d_model = d;
    f.d_sae = (size_t)o.d_sae;
    f.aux_k = at_most(f.aux_k, f.d_sae);
    f.prefixes = at_most(f.prefixes, f.d_sae);
    f.k = at_most(at_most(f.k, f.d_sae), d < 4 ? 1 : d / 4);
    f.rms = o.normalize == NORMALIZE_RMS;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *one = &fields[i];
        bool can = (kind->accepts & one->uses) == one->uses;
        if (opt_given(one->var) && !can)
            refuse(one->name);
        if (opt_given(one->var))
            field_take(one, &f);
        else if (can)
            field_give(one, &f);
    }
    if (o.init && !(kind->accepts & USES_INIT))
        refuse("--init");
    if (!opt_given(&o.batch))
        o.batch = (int64_t)r->batch;
    resolve_buffer(d, kind->accepts);
    resolve_resampling(&f, kind->accepts, r);
    check_ranges(&f);
    *total = resolve_total(&f, r, src);
    plan_resampling(&f);
    f.seed = (uint64_t)opt.seed;
    return f;
}

/* Whether rows of BOS are among these, as far as the header says. */
static const char *bos_words(const json_t *head)
{
    const json_t *tok = json_object_get(head, "tok");
    size_t i, k;
    json_t *step, *word;
    if (!json_is_integer(json_object_get(tok, "bos")))
        return json_is_object(tok) ? "; contexts without BOS" : "";
    json_array_foreach(json_object_get(head, "history"), i, step)
        json_array_foreach(json_object_get(step, "args"), k, word)
            if (json_is_string(word) && !strcmp(json_string_value(word), "--keep-bos"))
                return "; rows of BOS are among them";
    return "; contexts begin with BOS, whose rows are left out";
}

/* Rows of one document stand together: a buffer that holds a small part of all rows mixes few documents. */
static void warn_buffer(uint64_t rows)
{
    if (!opt_given(&o.buffer) && o.lr >= 0 && rows / 4 > (uint64_t)o.buffer)
        tool_warn("note: the shuffle buffer holds %" PRId64 " of %" PRIu64 " rows: act-cat --shuffle before the fit, or "
                  "a larger --buffer, makes a better dictionary", o.buffer, rows);
}

/* What was chosen for one who did not: in one line. */
static void say_choice(const struct fit_options *f, const struct fitrows *src)
{
    char sparsity[60] = "";
    if (!opt.verbose && (opt_given(&o.kind) || o.preset >= 0))
        return;
    if (f->kind->accepts & USES_K)
        snprintf(sparsity, sizeof sparsity, ", %zu of them a row (-k)", f->k);
    else if (f->kind->accepts & USES_L1 && o.l1.n == 1)
        snprintf(sparsity, sizeof sparsity, ", --l1 %g", o.l1.item[0]);
    tool_warn("kind %s, %zu features%s; rows %s%s; dead: not fired in %" PRId64 " rows", f->kind->name, f->d_sae,
              sparsity, f->rms ? "scaled to a mean square norm of d_model" : "as they are", bos_words(src->in->head), o.window);
}

/* ---- the fits side by side ---- */

/* `pattern` with every {l1} replaced. */
static char *with_l1(const char *pattern, const char *word)
{
    static const char mark[] = "{l1}";
    const char *hit = strstr(pattern, mark);
    if (!hit)
        return mem_string(pattern);
    char *rest = with_l1(hit + strlen(mark), word);
    char *all = mem_format("%.*s%s%s", (int)(hit - pattern), pattern, word, rest);
    free(rest);
    return all;
}

static void check_names(const char *option, const char *pattern, size_t jobs)
{
    if (!pattern)
        return;
    if (strstr(pattern, "{l1}") && !o.l1.n)
        opt_misuse("%s %s: kind %s has no LAMBDA", option, pattern, kind_names[o.kind]);
    if (jobs > 1 && !strstr(pattern, "{l1}"))
        opt_misuse("%s %s: several LAMBDA want {l1} in the name", option, pattern);
}

/* Find out now, not after the last row, that a file could not be written. */
static void try_file(const char *path)
{
    struct io_out *out = io_create(path, 0);
    if (!out)
        tool_die();
    io_abort(out);
}

static struct fit_job *make_jobs(const struct fit_options *f, size_t jobs)
{
    struct fit_job *job = mem_zero(jobs, sizeof *job);
    check_names("-o", opt.output, jobs);
    check_names("--log", o.log, jobs);
    for (size_t j = 0; j < jobs; j++) {
        struct fit_options own = *f;
        job[j].l1 = o.l1.n ? o.l1.item[j] : 0;
        job[j].word = o.l1.word ? mem_string(o.l1.word[j]) : mem_format("%.6g", job[j].l1);
        job[j].output = with_l1(opt.output, job[j].word);
        job[j].log_path = o.log ? with_l1(o.log, job[j].word) : NULL;
        for (size_t k = 0; k < j; k++)
            if (job[k].l1 == job[j].l1 || !strcmp(job[k].word, job[j].word))
                opt_misuse("--l1: %s is there twice", job[j].word);
        if (o.l1.n)
            own.l1 = preset_l1_canonical(job[j].l1, (enum l1_units)o.units, own.d_model, own.d_sae);
        job[j].options = own;
        try_file(job[j].output);
    }
    if (o.checkpoint) {
        try_file(o.checkpoint);
        tool_left_part(o.checkpoint);
    }
    return job;
}

static int fit(int argc, char **argv, const char *command)
{
    struct fit_run r = {
        .src = { .path = argc ? argv[0] : NULL, .max_rows = o.rows, .epochs = o.epochs }, .buffer = (size_t)o.buffer,
        .log_every = (uint64_t)o.log_every, .every = (uint64_t)o.every, .eval = o.eval, .init = o.init,
        .checkpoint = o.checkpoint, .resume = o.resume, .l1 = &o.l1, .command = command,
    };
    r.src.in = tool_open(argc, argv, 0);
    tool_want(r.src.in, STREAM_ACTS, 0, "");
    if (o.epochs > 1 && !io_seekable(r.src.in->io))
        opt_misuse("--epochs above 1 needs a file, not %s", stream_name(r.src.in));
    struct fit_options options = resolve(&r.src, &r.total);
    say_choice(&options, &r.src);
    warn_buffer(r.total / (uint64_t)o.epochs);
    r.batch = (size_t)o.batch;
    r.jobs = o.l1.n ? o.l1.n : 1;
    r.job = make_jobs(&options, r.jobs);
    if (o.eval)
        stream_close(fitrows_open(o.eval, r.src.in->d));
    int status = fitrun(&r, argv, (size_t)argc);
    for (size_t j = 0; j < r.jobs; j++) {
        free(r.job[j].word);
        free(r.job[j].output);
        free(r.job[j].log_path);
        free(r.job[j].failed);
    }
    free(r.job);
    stream_close(r.src.in);
    return status;
}

/* The command as it was given, to be printed where it can be given again. */
static char *command_of(char *const *argv)
{
    struct text t = { .s = NULL };
    for (size_t i = 0; argv[i]; i++) {
        table_text_plain(&t, i ? " " : "");
        shellword_add(&t, argv[i], false);
    }
    return t.s;
}

int main(int argc, char **argv)
{
    err_program = usage.tool;           /* before the first allocation */
    char *command = command_of(argv);
    tool_begin(&argc, &argv, &usage, table);
    if (o.info && (!argc || opt.output))
        opt_misuse("--info wants a dictionary, and no -o");
    if (o.info)
        return fitinfo_print(argv[0]);
    if (!opt.output)
        opt_misuse("-o SAE is required");
    if (opt_given(&o.every) && !o.checkpoint)
        opt_misuse("--every needs --checkpoint");
    cli_blas_start();
    int status = fit(argc, argv, command);
    free(command);
    return status;
}
