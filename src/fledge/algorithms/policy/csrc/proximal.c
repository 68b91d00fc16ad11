/* PPO's loss and its slopes with respect to what an actor and a critic say, row by row: the clipped
 * ratio (Schulman et al. 2017, eq. 7), the value's error held near its old one, and the entropy, as
 * fit.py has them. Every sum runs in one order, in double.
 */

#include <math.h>
#include <stdint.h>

typedef struct {
    const float *numbers; /* [rows, width]: logits, or the means of a Gaussian */
    const float *log_std, *shrink; /* [width] of a Gaussian, and e^-log_std; none: of logits */
    const float *value;   /* [rows] */
    const int64_t *choice; /* [rows], of logits */
    const float *action;   /* [rows, width], of a Gaussian */
    const uint8_t *chosen; /* [rows] */
    const float *old_logp, *advantage, *target, *old_value;       /* [rows] */
    float *numbers_slope, *log_std_slope, *value_slope; /* of the whole loss, as they are above */
    double *sums; /* each / count: loss, policy loss, value loss, clipped rows, KL, entropy */
    int64_t rows, width;
    double count, clip_low, clip_high, value_clip, value_coefficient, entropy_coefficient;
} Step; /* value_clip: infinity where the value may move freely */

static const double BOUND = 20.0; /* of a log-ratio */

static double hold(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x; /* what is no number stays none */
}

/* log(sum of e^x) of a row. */
static double sum_up(const float *x, int64_t width)
{
    double most = x[0], sum = 0;
    for (int64_t i = 1; i < width; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < width; i++)
        sum += exp(x[i] - most);
    return most + log(sum);
}

static double say_choice(const Step *step, int64_t row, double *entropy, double *all)
{
    const float *x = step->numbers + row * step->width;
    *all = sum_up(x, step->width);
    *entropy = 0;
    if (step->entropy_coefficient)
        for (int64_t i = 0; i < step->width; i++)
            *entropy -= exp(x[i] - *all) * (x[i] - *all);
    return x[step->choice[row]] - *all;
}

/* slope: of the loss with respect to the row's log-probability. of_entropy: with respect to its
 * entropy.
 */
static void pull_choice(
    const Step *step, int64_t row, double slope, double of_entropy, double entropy, double all)
{
    const float *x = step->numbers + row * step->width;
    float *out = step->numbers_slope + row * step->width;
    for (int64_t i = 0; i < step->width; i++) {
        double logp = x[i] - all, p = exp(logp);
        double own = slope * ((i == step->choice[row]) - p);
        out[i] = of_entropy ? own - of_entropy * p * (logp + entropy) : own;
    }
}

static const double LOG_2PI = 1.8378770664093453;

static double say_gaussian(const Step *step, int64_t row, double *entropy)
{
    double logp = 0;
    *entropy = 0;
    for (int64_t i = 0; i < step->width; i++) {
        int64_t at = row * step->width + i;
        double spread = step->log_std[i];
        double away = ((double)step->action[at] - step->numbers[at]) * step->shrink[i];
        logp -= 0.5 * (away * away + LOG_2PI) + spread;
        *entropy += spread + 0.5 * (1 + LOG_2PI);
    }
    return logp;
}

static void pull_gaussian(const Step *step, int64_t row, double slope, double of_entropy)
{
    for (int64_t i = 0; i < step->width; i++) {
        int64_t at = row * step->width + i;
        double shrink = step->shrink[i];
        double away = ((double)step->action[at] - step->numbers[at]) * shrink;
        step->numbers_slope[at] = slope * away * shrink;
        step->log_std_slope[i] += slope * (away * away - 1) + of_entropy;
    }
}

void fit_step(const Step *step)
{
    double *sums = step->sums;
    for (int i = 0; i < 6; i++)
        sums[i] = 0;
    for (int64_t i = 0; step->log_std && i < step->width; i++)
        step->log_std_slope[i] = 0;
    for (int64_t row = 0; row < step->rows; row++) {
        if (!step->chosen[row]) { /* whatever stands there counts for nothing */
            for (int64_t i = 0; i < step->width; i++)
                step->numbers_slope[row * step->width + i] = 0;
            step->value_slope[row] = 0;
            continue;
        }
        double entropy, all = 0;
        double logp = step->log_std ? say_gaussian(step, row, &entropy)
                                    : say_choice(step, row, &entropy, &all);
        double change = logp - step->old_logp[row], advantage = step->advantage[row];
        double ratio = exp(hold(change, -BOUND, BOUND));
        double held = hold(ratio, 1 - step->clip_low, 1 + step->clip_high);
        int clipped = ratio * advantage > held * advantage;
        int bounded = change < -BOUND || change > BOUND;
        sums[1] -= clipped ? held * advantage : ratio * advantage;
        double slope = clipped || bounded ? 0 : -ratio * advantage / step->count;

        double value = step->value[row], target = step->target[row], old = step->old_value[row];
        double error = value - target, of_value = error;
        double moved = old + hold(value - old, -step->value_clip, step->value_clip) - target;
        if (fabs(value - old) > step->value_clip && moved * moved > error * error)
            error = moved, of_value = 0;
        sums[2] += 0.5 * error * error;
        step->value_slope[row] = step->value_coefficient * of_value / step->count;

        double free = exp(change);
        sums[3] += free < 1 - step->clip_low || free > 1 + step->clip_high;
        sums[4] += exp(change > BOUND ? BOUND : change) - 1 - change;
        sums[5] += entropy;
        double of_entropy = -step->entropy_coefficient / step->count;
        if (step->log_std)
            pull_gaussian(step, row, slope, of_entropy);
        else
            pull_choice(step, row, slope, of_entropy, entropy, all);
    }
    for (int i = 1; i < 6; i++)
        sums[i] /= step->count;
    sums[0] = sums[1] + step->value_coefficient * sums[2] - step->entropy_coefficient * sums[5];
}
