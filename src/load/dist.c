#include "load/dist.h"

#include <errno.h>
#include <math.h>

static const struct {
    struct slice name;
    enum load_dist_kind kind;
    char separator; // between the two numbers; 0: there is one
} kinds[] = {
    {SLICE("uniform:"), LOAD_DIST_UNIFORM, '-'},
    {SLICE("exp:"), LOAD_DIST_EXP, 0},
    {SLICE("normal:"), LOAD_DIST_NORMAL, ','},
    {SLICE("lognormal:"), LOAD_DIST_LOGNORMAL, ','},
};

static int bad(struct slice text, struct error *err)
{
    return error_set(err, -EINVAL,
                     "\"%.*s\" is not a number of tokens (0 to %d); write 128, uniform:64-256, "
                     "exp:200, normal:200,50 or lognormal:200,0.8",
                     SLICE_FMT(text), LOAD_TOKENS_MAX);
}

static bool in_range(double value)
{
    return value >= 0 && value <= (double)LOAD_TOKENS_MAX; // false for NaN
}

int load_dist_parse(struct slice text, struct load_dist *ret_dist, struct error *err)
{
    struct load_dist dist = {.kind = LOAD_DIST_FIXED};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (!slice_has_prefix(text, kinds[i].name)) {
            continue;
        }
        struct slice rest = slice_skip(text, kinds[i].name.len), first = rest;
        if (kinds[i].separator != 0 &&
            (!slice_split(&rest, kinds[i].separator, &first) || rest.ptr == NULL ||
             slice_to_double(rest, &dist.b) != 0)) {
            return bad(text, err);
        }
        if (slice_to_double(first, &dist.a) != 0 || !in_range(dist.a) || !in_range(dist.b) ||
            (kinds[i].kind == LOAD_DIST_UNIFORM && dist.b < dist.a)) {
            return bad(text, err);
        }
        dist.kind = kinds[i].kind;
        *ret_dist = dist;
        return 0;
    }
    uint64_t n;
    if (slice_to_u64(text, &n) != 0 || n > LOAD_TOKENS_MAX) {
        return bad(text, err);
    }
    dist.a = (double)n;
    *ret_dist = dist;
    return 0;
}

double load_draw_exp(struct rand_state *rng)
{
    return -log(1.0 - rand_unit(rng));
}

// Box and Muller's transform.
static double draw_normal(struct rand_state *rng)
{
    return sqrt(2.0 * load_draw_exp(rng)) * cos(2.0 * M_PI * rand_unit(rng));
}

uint32_t load_dist_draw(const struct load_dist *dist, struct rand_state *rng)
{
    double value = dist->a;
    switch (dist->kind) {
    case LOAD_DIST_FIXED:
        return (uint32_t)dist->a;
    case LOAD_DIST_UNIFORM:
        value = dist->a + floor(rand_unit(rng) * (dist->b - dist->a + 1.0));
        break;
    case LOAD_DIST_EXP:
        value = dist->a * load_draw_exp(rng);
        break;
    case LOAD_DIST_NORMAL:
        value = dist->a + dist->b * draw_normal(rng);
        break;
    case LOAD_DIST_LOGNORMAL:
        value = dist->a * exp(dist->b * draw_normal(rng));
        break;
    }
    if (!(value >= 1)) {
        return 1;
    }
    return value < (double)LOAD_TOKENS_MAX ? (uint32_t)lround(value) : LOAD_TOKENS_MAX;
}
