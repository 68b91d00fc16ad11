/* Attention in training, forward and backward (Dao et al. 2022, algorithms 1 and 4): BLOCK queries
 * at a time, whose scores stay in the nearer caches; blocks above the diagonal are left out.
 * Numbers come and go in float32 or bfloat16 and are float32 in between. A piece of the work is a
 * head of keys and values with all its queries, so that every sum runs in one order.
 */
#include <math.h>

#include "products.h"
#include "threads.h"
#include "vectors.h"

enum { BLOCK = 32 };

typedef uint8_t bytes __attribute__((vector_size(WIDE), aligned(1), may_alias));

/* The strides are in numbers; those of the last dimension are 1. */
typedef struct {
    const void *place;
    int64_t batch, head, row;
} View;

typedef struct {
    View q, k, v, g;     /* [batch, heads, queries, width], [batch, kv_heads, keys, width] twice */
    const uint8_t *mask; /* [batch, 1, queries, keys] with these strides; or none: causal */
    int64_t mask_batch, mask_row;
    void *y, *g_q, *g_k, *g_v; /* [batch, queries, heads, width], [batch, keys, kv_heads, width] */
    float *normaliser;         /* [batch, heads, queries]: log of the sum of e^score */
    int64_t rows, heads, kv_heads, queries, keys, width, narrow;
    double scale;
} Attention;

/* Rows of a view as float32, one behind the other, times `scale`. */
static void read_rows(const Attention *job, const View *view, int64_t batch, int64_t head,
                      int64_t first, int64_t count, float scale, float *to)
{
    const int64_t start = batch * view->batch + head * view->head, width = job->width;
    for (int64_t r = 0; r < count; r++) {
        const int64_t from = start + (first + r) * view->row;
        for (int64_t i = 0; i < width; i += WIDE) {
            const int64_t left = width - i;
            const vector x = job->narrow ? widen((const uint16_t *)view->place + from + i, left)
                                         : load((const float *)view->place + from + i, left);
            store(to + r * width + i, x * scale, left);
        }
    }
}

/* Rows into [batch, rows, heads, width], times one number each or all `scale`. */
static void write_rows(const Attention *job, void *place, int64_t row, int64_t step, int64_t count,
                       const float *each, float scale, const float *from)
{
    const int64_t width = job->width;
    for (int64_t r = 0; r < count; r++) {
        const int64_t to = row + r * step;
        const float factor = each ? each[r] : scale;
        for (int64_t i = 0; i < width; i += WIDE) {
            const vector x = load(from + r * width + i, width - i) * factor;
            if (job->narrow)
                narrow((uint16_t *)place + to + i, x, width - i);
            else
                store((float *)place + to + i, x, width - i);
        }
    }
}

static const uint8_t *find_mask(const Attention *job, int64_t batch, int64_t query)
{
    return job->mask ? job->mask + batch * job->mask_batch + query * job->mask_row : 0;
}

/* How many keys some query of a block may see, up to whole panels. */
static int64_t count_seen(const Attention *job, int64_t batch, int64_t first, int64_t count)
{
    int64_t end = first + count;
    if (job->mask) {
        end = 1;
        for (int64_t r = 0; r < count; r++) {
            const uint8_t *mask = find_mask(job, batch, first + r);
            int64_t last = job->keys;
            while (last > end && !mask[last - 1])
                last--;
            end = last > end ? last : end;
        }
    }
    end = (end + 2 * WIDE - 1) / (2 * WIDE) * (2 * WIDE);
    return end < job->keys ? end : job->keys;
}

/* All bits where key j and on may be seen, by the mask or up to `query`. */
static inline whole find_seen(const uint8_t *mask, int64_t query, int64_t j, int64_t left)
{
    whole place;
    for (int i = 0; i < WIDE; i++)
        place[i] = i;
    if (!mask)
        return (place + (int32_t)j) <= (int32_t)query;
    bytes x = {0};
    if (left >= WIDE)
        x = *(const bytes *)(mask + j);
    else
        memcpy(&x, mask + j, left);
    return (whole)(__builtin_convertvector(x, bits) != 0);
}

/* e^(score - least) where a key is seen, else 0. */
static inline vector weigh(vector score, float top, whole seen)
{
    const vector zero = {0}, low = zero - 87.0f;
    vector x = score - top;
    x = choose(x < low, low, x); /* e^-87 is nothing beside the largest, which is 1 */
    return choose(seen, exponential(x), zero);
}

/* Scores become e^(score - largest). -> 1 / their sum; normaliser: its log, and the largest */
static float soften(float *score, const uint8_t *mask, int64_t query, int64_t end,
                    float *normaliser)
{
    const vector zero = {0}, none = zero - INFINITY;
    vector most = none, sum = zero;
    for (int64_t j = 0; j < end; j += WIDE) {
        const whole seen = find_seen(mask, query, j, end - j);
        const vector x = choose(seen, load(score + j, end - j), none);
        most = choose(x > most, x, most);
    }
    float top = most[0];
    for (int i = 1; i < WIDE; i++)
        top = most[i] > top ? most[i] : top;
    for (int64_t j = 0; j < end; j += WIDE) {
        const whole seen = find_seen(mask, query, j, end - j);
        const vector p = weigh(load(score + j, end - j), top, seen);
        store(score + j, p, end - j);
        sum += p;
    }
    const float total = add_up(sum);
    if (total == 0) { /* no key is seen: nothing is said, and nothing learned */
        *normaliser = 0;
        return 0;
    }
    *normaliser = top + logf(total);
    return 1 / total;
}

/* P and its slope become P, and what pulls at the scores: P (slope - sum of P slope). */
static void pull_scores(float *score, float *slope, const uint8_t *mask, int64_t query, int64_t end,
                        float normaliser)
{
    vector sum = {0};
    for (int64_t j = 0; j < end; j += WIDE) {
        const whole seen = find_seen(mask, query, j, end - j);
        const vector p = weigh(load(score + j, end - j), normaliser, seen);
        store(score + j, p, end - j);
        sum += p * choose(seen, load(slope + j, end - j), (vector){0});
    }
    const float mean = add_up(sum);
    for (int64_t j = 0; j < end; j += WIDE) {
        const vector p = load(score + j, end - j);
        store(slope + j, p * (load(slope + j, end - j) - mean), end - j);
    }
}

static void multiply_all(const Product *p, int packed)
{
    for (int64_t i = 0; i < count_panels(p->m); i++) {
        if (!packed)
            pack_panel(p, i);
        multiply_packed(p, i);
    }
}

static void pack_all(const Product *p)
{
    for (int64_t i = 0; i < count_panels(p->m); i++)
        pack_panel(p, i);
}

/* Of a head of keys or values: as columns, for products with queries, and as rows. */
static Product by_columns(const Attention *job, const float *x, float *panels)
{
    const Product p = {.m = job->keys, .inner = job->width, .b = x, .b_row = job->width,
                       .turned = 1, .a_row = job->width, .a_column = 1, .panels = panels,
                       .panel = 2 * WIDE * job->width};
    pack_all(&p);
    return p;
}

static Product by_rows(const Attention *job, const float *x, float *panels)
{
    const Product p = {.m = job->width, .inner = job->keys, .b = x, .b_row = job->width,
                       .a_column = 1, .c_row = job->width, .panels = panels,
                       .panel = 2 * WIDE * job->keys};
    pack_all(&p);
    return p;
}

typedef struct {
    int64_t head, score_row, copied;
} Sizes;

static Sizes measure(const Attention *job)
{
    const int64_t copied = count_panels(job->keys) * 2 * WIDE * job->width;
    const int64_t other = count_panels(job->width) * 2 * WIDE * job->keys;
    return (Sizes){job->keys * job->width, count_panels(job->keys) * 2 * WIDE + WIDE,
                   copied > other ? copied : other};
}

static void read_piece(const void *given, long piece)
{
    const Attention *job = given;
    const int64_t width = job->width, group = job->heads / job->kv_heads;
    const int64_t batch = piece / job->kv_heads, kv = piece % job->kv_heads;
    const Sizes size = measure(job);
    float *x = take_room(size.head + 2 * size.copied + BLOCK * (2 * width + size.score_row + 1));
    float *keys = x + size.head, *values = keys + size.copied, *q = values + size.copied;
    float *y = q + BLOCK * width, *score = y + BLOCK * width;
    float *share = score + BLOCK * size.score_row;
    read_rows(job, &job->k, batch, kv, 0, job->keys, 1, x);
    Product scores = by_columns(job, x, keys);
    read_rows(job, &job->v, batch, kv, 0, job->keys, 1, x);
    Product means = by_rows(job, x, values);
    scores.a = q, scores.c = score, scores.c_row = means.a_row = size.score_row;
    means.a = score, means.c = y;
    for (int64_t head = kv * group; head < (kv + 1) * group; head++)
        for (int64_t first = 0; first < job->queries; first += BLOCK) {
            const int64_t left = job->queries - first, count = left < BLOCK ? left : BLOCK;
            scores.n = means.n = count;
            scores.m = means.inner = count_seen(job, batch, first, count);
            read_rows(job, &job->q, batch, head, first, count, job->scale, q);
            multiply_all(&scores, 1);
            float *said = job->normaliser + (batch * job->heads + head) * job->queries + first;
            for (int64_t r = 0; r < count; r++)
                share[r] = soften(score + r * size.score_row, find_mask(job, batch, first + r),
                                  first + r, scores.m, said + r);
            multiply_all(&means, 1);
            const int64_t row = (batch * job->queries + first) * job->heads + head;
            write_rows(job, job->y, row * width, job->heads * width, count, share, 0, y);
        }
}

static void learn_piece(const void *given, long piece)
{
    const Attention *job = given;
    const int64_t width = job->width, group = job->heads / job->kv_heads, block = BLOCK * width;
    const int64_t batch = piece / job->kv_heads, kv = piece % job->kv_heads;
    const Sizes size = measure(job);
    const int64_t few = count_panels(width) * 2 * WIDE * BLOCK;
    float *x = take_room(3 * size.head + 3 * size.copied + 3 * block + few +
                         2 * BLOCK * size.score_row);
    float *g_k = x + size.head, *g_v = g_k + size.head, *keys = g_v + size.head;
    float *key_rows = keys + size.copied, *values = key_rows + size.copied;
    float *q = values + size.copied, *g = q + block, *out = g + block, *few_panels = out + block;
    float *score = few_panels + few, *slope = score + BLOCK * size.score_row;
    read_rows(job, &job->k, batch, kv, 0, job->keys, 1, x);
    Product scores = by_columns(job, x, keys), of_q = by_rows(job, x, key_rows);
    read_rows(job, &job->v, batch, kv, 0, job->keys, 1, x);
    Product slopes = by_columns(job, x, values);
    scores.a = q, scores.c = score, slopes.a = g, slopes.c = slope;
    scores.c_row = slopes.c_row = of_q.a_row = size.score_row;
    of_q.a = slope, of_q.c = out;
    Product of_k = {.m = width, .a = slope, .a_row = 1, .a_column = size.score_row, .b = q,
                    .b_row = width, .c = g_k, .c_row = width, .panels = few_panels,
                    .panel = 2 * WIDE * BLOCK, .adds = 1};
    Product of_v = of_k;
    of_v.a = score, of_v.b = g, of_v.c = g_v;
    memset(g_k, 0, 2 * size.head * sizeof(float));
    for (int64_t head = kv * group; head < (kv + 1) * group; head++)
        for (int64_t first = 0; first < job->queries; first += BLOCK) {
            const int64_t left = job->queries - first, count = left < BLOCK ? left : BLOCK;
            const int64_t end = count_seen(job, batch, first, count);
            scores.n = slopes.n = of_q.n = of_k.inner = of_v.inner = count;
            scores.m = slopes.m = of_q.inner = of_k.n = of_v.n = end;
            read_rows(job, &job->q, batch, head, first, count, job->scale, q);
            read_rows(job, &job->g, batch, head, first, count, 1, g);
            multiply_all(&scores, 1);
            multiply_all(&slopes, 1);
            const float *said =
                job->normaliser + (batch * job->heads + head) * job->queries + first;
            for (int64_t r = 0; r < count; r++)
                pull_scores(score + r * size.score_row, slope + r * size.score_row,
                            find_mask(job, batch, first + r), first + r, end, said[r]);
            multiply_all(&of_q, 1);
            multiply_all(&of_k, 0);
            multiply_all(&of_v, 0);
            const int64_t row = (batch * job->queries + first) * job->heads + head;
            write_rows(job, job->g_q, row * width, job->heads * width, count, 0, job->scale, out);
        }
    const int64_t row = (batch * job->keys * job->kv_heads + kv) * width;
    const int64_t step = job->kv_heads * width;
    write_rows(job, job->g_k, row, step, job->keys, 0, 1, g_k);
    write_rows(job, job->g_v, row, step, job->keys, 0, 1, g_v);
}

void read_attention(const Attention *job, int threads)
{
    run_in_team(read_piece, job, job->rows * job->kv_heads, threads);
}

void learn_attention(const Attention *job, int threads)
{
    run_in_team(learn_piece, job, job->rows * job->kv_heads, threads);
}
