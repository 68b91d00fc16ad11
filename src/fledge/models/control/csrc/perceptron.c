/* A perceptron, forward and backward, each in one call: torch's dozens of operations cost several
 * times what they compute of 64 rows through two layers of 64, and as much as they compute of 64
 * through two of 256. Layers may be normalised before their activation. Larger products are shared
 * by threads, panel by panel, which changes no number: the same rows give the same bits.
 */
#include "norms.h"
#include "products.h"
#include "threads.h"
#include "vectors.h"

enum { TANH = 0, RELU = 1 };
enum { SHARED = 1 << 20 }; /* products of two numbers below which it takes longer to share them */

typedef struct {
    const float *weight, *bias; /* [outside, inside], [outside] */
    const float *gain, *shift;  /* [outside] each: of the norm; or none */
    int64_t inside, outside;
} Layer;

/* hidden: of each layer but the last what it says, [rows, outside]; where there is a norm, what it
 * made, [rows, outside], and what it multiplied by, [rows]; one behind the other. gradient: of each
 * layer's weight, bias, gain and shift, one behind the other; or none. slope_inside: or none.
 * hidden and room: as much as count_hidden and count_room say.
 */
typedef struct {
    const Layer *layers;
    const float *inside;
    float *hidden, *outside;
    const float *slope_outside;
    float *gradient, *slope_inside, *room;
    int64_t depth, rows, activation, threads;
} Work;

typedef struct {
    const Work *work;
    Product forward, slopes, gradients; /* of one layer; m = 0: is not asked for */
    const float *slope, *said;          /* of this layer, and what came into it */
    float *bias;
    int activates;
} Step;

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* What is no number stays none: every comparison with it is false. */
static inline vector activate(vector x, int64_t activation)
{
    const vector zero = {0}, most = zero + 9.0f;
    if (activation == RELU)
        return choose(x < zero, zero, x);
    x = choose(x > most, most, x);
    x = choose(x < -most, -most, x);
    return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); /* tanh */
}

/* The slope times the derivative, by what was said. */
static inline vector pull_back(vector slope, vector said, int64_t activation)
{
    const vector zero = {0};
    if (activation == RELU)
        return choose(said > zero, slope, zero);
    return slope * (1.0f - said * said);
}

/* Numbers that the panels of a layer want, and those that it keeps of its rows for the way back. */
static int64_t count_copied(int64_t columns, int64_t inner)
{
    return count_panels(columns) * 2 * WIDE * inner;
}

static int64_t count_kept(const Layer *layer, int64_t rows)
{
    return rows * (layer->gain ? 2 * layer->outside + 1 : layer->outside);
}

static int64_t count_gradient(const Layer *layer)
{
    return layer->outside * (layer->inside + (layer->gain ? 3 : 1));
}

/* Of the layer that wants most, and numbers of the widest layer. */
static int64_t measure(const Work *work, int64_t *widest)
{
    int64_t most = 0;
    *widest = 0;
    for (int64_t l = 0; l < work->depth; l++) {
        const Layer *layer = work->layers + l;
        *widest = larger(*widest, larger(layer->inside, layer->outside));
        most = larger(most, count_copied(layer->outside, layer->inside));
        most = larger(most, count_copied(layer->inside, layer->outside) +
                                count_copied(layer->inside, work->rows));
    }
    return most;
}

/* How many numbers `room` is to have. */
int64_t count_room(const Work *work)
{
    int64_t widest, most = measure(work, &widest);
    return most + 2 * work->rows * widest;
}

/* How many numbers `hidden` is to have. */
int64_t count_hidden(const Work *work)
{
    int64_t numbers = 0;
    for (int64_t l = 0; l + 1 < work->depth; l++)
        numbers += count_kept(work->layers + l, work->rows);
    return numbers;
}

static int count_threads(const Work *work, const Layer *layer)
{
    return work->rows * layer->inside * layer->outside < SHARED ? 1 : (int)work->threads;
}

/* A panel of what a layer says. */
static void say_piece(const void *job, long piece)
{
    const Step *step = job;
    const Product *p = &step->forward;
    multiply_panel(p, piece);
    if (!step->activates)
        return;
    const int64_t j = piece * 2 * WIDE, end = j + 2 * WIDE < p->m ? j + 2 * WIDE : p->m;
    for (int64_t r = 0; r < p->n; r++)
        for (int64_t i = j; i < end; i += WIDE) {
            float *at = p->c + r * p->m + i;
            store(at, activate(load(at, end - i), step->work->activation), end - i);
        }
}

void say(const Work *work)
{
    const int64_t rows = work->rows;
    const float *x = work->inside;
    float *said = work->hidden;
    for (int64_t l = 0; l < work->depth; l++) {
        const Layer *layer = work->layers + l;
        const int64_t last = l + 1 == work->depth, width = layer->outside;
        float *out = last ? work->outside : said;
        const Step step = {
            .work = work,
            .activates = !last && !layer->gain,
            .forward = {.n = rows, .m = width, .inner = layer->inside,
                        .a = x, .a_row = layer->inside, .a_column = 1,
                        .b = layer->weight, .b_row = layer->inside, .turned = 1,
                        .bias = layer->bias, .c = out, .c_row = width,
                        .panels = work->room, .panel = 2 * WIDE * layer->inside},
        };
        run_pieces(say_piece, &step, count_panels(width), count_threads(work, layer));
        if (!last && layer->gain) {
            float *between = out + rows * width;
            normalise(out, between, between + rows * width, rows, width);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = 0; i < width; i += WIDE) {
                    const int64_t at = r * width + i, left = width - i;
                    vector y = load(between + at, left) * load(layer->gain + i, left);
                    y += load(layer->shift + i, left);
                    store(out + at, activate(y, work->activation), left);
                }
        }
        x = out;
        said += last ? 0 : count_kept(layer, rows);
    }
}

/* The panels of a layer's gradient, its bias, then the panels of the slope of what came in. */
static void learn_piece(const void *job, long piece)
{
    const Step *step = job;
    const Product *g = &step->gradients, *s = &step->slopes;
    const int64_t panels = g->m ? count_panels(g->m) : 0;
    if (piece < panels) {
        multiply_panel(g, piece);
        return;
    }
    piece -= panels;
    if (g->m && !piece) {
        const int64_t width = g->n, rows = g->inner;
        for (int64_t i = 0; i < width; i += WIDE) {
            vector sum = {0};
            for (int64_t r = 0; r < rows; r++)
                sum += load(step->slope + r * width + i, width - i);
            store(step->bias + i, sum, width - i);
        }
        return;
    }
    piece -= g->m ? 1 : 0;
    multiply_panel(s, piece);
    if (!step->said)
        return;
    const int64_t j = piece * 2 * WIDE, end = j + 2 * WIDE < s->m ? j + 2 * WIDE : s->m;
    for (int64_t r = 0; r < s->n; r++)
        for (int64_t i = j; i < end; i += WIDE) {
            float *at = s->c + r * s->m + i;
            const vector said = load(step->said + r * s->m + i, end - i);
            store(at, pull_back(load(at, end - i), said, step->work->activation), end - i);
        }
}

void learn(const Work *work)
{
    int64_t widest, most = measure(work, &widest), rows = work->rows;
    float *slopes[2] = {work->room + most, work->room + most + rows * widest};
    float *hidden = work->hidden + count_hidden(work), *gradient = work->gradient, *slope = 0;
    for (int64_t l = 0; gradient && l < work->depth; l++)
        gradient += count_gradient(work->layers + l);
    for (int64_t l = work->depth - 1; l >= 0; l--) {
        const Layer *layer = work->layers + l;
        const int64_t inside = layer->inside, outside = layer->outside;
        float *bias = 0;
        if (gradient) {
            gradient -= count_gradient(layer);
            bias = gradient + outside * inside;
        }
        if (slope && layer->gain) { /* `hidden` is where this layer's lies */
            const float *between = hidden + rows * outside;
            pull_through_norm(slope, between, between + rows * outside, layer->gain,
                              bias ? bias + outside : 0, bias ? bias + 2 * outside : 0, rows,
                              outside);
        }
        if (l)
            hidden -= count_kept(layer - 1, rows);
        const float *came = l ? hidden : work->inside, *now = slope ? slope : work->slope_outside;
        const int down = l || work->slope_inside;
        slope = l ? slopes[l % 2] : work->slope_inside;
        const Step step = {
            .work = work, .slope = now, .bias = bias, .said = l ? came : 0,
            .gradients = {.n = outside, .m = gradient ? inside : 0, .inner = rows,
                          .a = now, .a_row = 1, .a_column = outside,
                          .b = came, .b_row = inside, .c = gradient, .c_row = inside,
                          .panels = work->room + count_copied(inside, outside),
                          .panel = 2 * WIDE * rows},
            .slopes = {.n = rows, .m = inside, .inner = outside,
                       .a = now, .a_row = outside, .a_column = 1,
                       .b = layer->weight, .b_row = inside, .c = slope, .c_row = inside,
                       .panels = work->room, .panel = 2 * WIDE * outside},
        };
        const int64_t panels = count_panels(inside);
        run_pieces(learn_piece, &step, (gradient ? panels + 1 : 0) + (down ? panels : 0),
                   count_threads(work, layer));
    }
}
