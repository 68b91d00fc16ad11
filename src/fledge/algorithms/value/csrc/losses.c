/* The losses of DQN and SAC and their slopes with respect to what the networks say, row by row, as
 * dqn.py and soft_actor_critic.py have them. Sums run in one order, in double.
 */
#include <math.h>
#include <stdint.h>

/* Of DQN: sums are the loss, Q and |error|, each divided by count. */
typedef struct {
    const float *q, *future, *judge; /* [rows, actions]; best by `judge`, worth `future` */
    const int64_t *action;
    const float *reward, *discount, *weight;
    const uint8_t *terminated;
    float *slope, *error; /* [rows, actions]; [rows], |error| */
    double *sums;
    int64_t rows, actions;
    double count;
} Choices;

/* -> 0, or 1 where an action is none. */
int weigh_choices(const Choices *step)
{
    double sums[3] = {0};
    for (int64_t r = 0; r < step->rows; r++)
        if (step->action[r] < 0 || step->action[r] >= step->actions)
            return 1;
    for (int64_t r = 0; r < step->rows; r++) {
        const float *judge = step->judge + r * step->actions;
        float *slope = step->slope + r * step->actions;
        int64_t best = 0;
        for (int64_t a = 0; a < step->actions; a++) {
            slope[a] = 0;
            /* The first that is no number is the best, as torch has it. */
            if (judge[best] == judge[best] && !(judge[a] <= judge[best]))
                best = a;
        }
        const float beyond = step->discount[r] * step->future[r * step->actions + best];
        const float target = step->reward[r] + (step->terminated[r] ? 0.0f : beyond);
        const float q = step->q[r * step->actions + step->action[r]];
        const double error = q - target, size = fabs(error);
        const double huber = size < 1 ? 0.5 * error * error : size - 0.5;
        const double pull = size < 1 ? error : error / size;
        slope[step->action[r]] = step->weight[r] * pull / step->count;
        step->error[r] = size;
        sums[0] += step->weight[r] * huber;
        sums[1] += q;
        sums[2] += size;
    }
    for (int i = 0; i < 3; i++)
        step->sums[i] = sums[i] / step->count;
    return 0;
}

/* Of SAC's critics: sums are the loss and the mean of both Q, each divided by count. */
typedef struct {
    const float *first, *second;               /* [rows]: Q of what was done */
    const float *next_first, *next_second;     /* [rows]: the targets' of what would be next */
    const float *logp, *reward, *discount, *weight; /* [rows]; logp: of what would be next */
    const uint8_t *terminated;
    float *first_slope, *second_slope, *error; /* [rows]; error: the mean of both sizes */
    double *sums;
    int64_t rows;
    double count, temperature;
} Critics;

void weigh_critics(const Critics *step)
{
    double loss = 0, worth = 0;
    for (int64_t r = 0; r < step->rows; r++) {
        const float first = step->next_first[r], second = step->next_second[r];
        /* What is no number is the smaller, as torch has it. */
        const float least = first != first ? first : !(second >= first) ? second : first;
        const float beyond = step->discount[r] * (least - (float)step->temperature * step->logp[r]);
        const float target = step->reward[r] + (step->terminated[r] ? 0.0f : beyond);
        const double one = step->first[r] - target, other = step->second[r] - target;
        const double weight = step->weight[r];
        step->first_slope[r] = weight * one / step->count;
        step->second_slope[r] = weight * other / step->count;
        step->error[r] = 0.5 * (fabs(one) + fabs(other));
        loss += 0.5 * weight * (one * one + other * other);
        worth += 0.5 * ((double)step->first[r] + step->second[r]);
    }
    step->sums[0] = loss / step->count;
    step->sums[1] = worth / step->count;
}

/* tanh of a Gaussian (Haarnoja et al. 2018, appendix C): numbers are means, then log deviations. */
typedef struct {
    const float *numbers, *noise; /* [rows, 2 width]; [rows, width] */
    float *unit, *logp;           /* the action, every unit_row numbers [rows, width]; [rows] */
    int64_t rows, width, unit_row;
    float least, most; /* log deviations */
} Squashed;

void squash(const Squashed *step)
{
    const int64_t width = step->width;
    for (int64_t r = 0; r < step->rows; r++) {
        const float *mean = step->numbers + 2 * r * width, *log_std = mean + width;
        float *unit = step->unit + r * step->unit_row;
        double logp = 0;
        for (int64_t i = 0; i < width; i++) {
            const float noise = step->noise[r * width + i];
            float spread = log_std[i] < step->least ? step->least : log_std[i];
            spread = spread > step->most ? step->most : spread;
            const float u = mean[i] + expf(spread) * noise;
            /* With e = exp(-2|u|): tanh |u| = (1 - e) / (1 + e), log(1 - tanh^2 u) below. */
            const float e = expf(-2 * fabsf(u)), y = (1 - e) / (1 + e);
            unit[i] = u < 0 ? -y : u != u ? u : y;
            const float squeezed = 2 * (0.69314718f - fabsf(u) - log1pf(e));
            logp += -0.5f * noise * noise - spread - 0.91893853f - squeezed;
        }
        step->logp[r] = logp;
    }
}

/* Of SAC's actor: sums are the policy's loss, the entropy's, and the temperature's slope, each
 * divided by count. unit_slope: of both critics' answers, every slope_row numbers.
 */
typedef struct {
    Squashed drawn;
    const float *first, *second; /* [rows]: Q of the action */
    const float *slope_of_first, *slope_of_second;
    float *numbers_slope; /* [rows, 2 width] */
    double *sums;
    int64_t slope_row;
    double count, temperature, target_entropy;
} Actor;

/* -1 / count of the smaller, half of it each where they are equal: of `first`, then of `second`. */
void choose_smaller(const float *first, const float *second, float *first_slope,
                    float *second_slope, int64_t rows, double count)
{
    for (int64_t r = 0; r < rows; r++) {
        const double share = first[r] < second[r] ? 1 : first[r] > second[r] ? 0 : 0.5;
        first_slope[r] = -share / count;
        second_slope[r] = -(1 - share) / count;
    }
}

void pull_actor(const Actor *step)
{
    const Squashed *drawn = &step->drawn;
    const int64_t width = drawn->width;
    const double weight = step->temperature / step->count;
    double climbing = 0, entropy = 0;
    for (int64_t r = 0; r < drawn->rows; r++) {
        const float *numbers = drawn->numbers + 2 * r * width;
        const float *unit = drawn->unit + r * drawn->unit_row;
        float *slope = step->numbers_slope + 2 * r * width;
        for (int64_t i = 0; i < width; i++) {
            const float log_std = numbers[width + i], y = unit[i];
            const int free = log_std >= drawn->least && log_std <= drawn->most;
            const int64_t at = r * step->slope_row + i;
            const double of_unit = (double)step->slope_of_first[at] + step->slope_of_second[at];
            const double of_u = weight * 2 * y + of_unit * (1 - (double)y * y);
            const float spread = free ? expf(log_std) : 0;
            slope[i] = of_u;
            slope[width + i] = free ? of_u * spread * drawn->noise[r * width + i] - weight : 0;
        }
        const float worth = step->second[r] < step->first[r] ? step->second[r] : step->first[r];
        climbing += step->temperature * drawn->logp[r] - worth;
        entropy -= drawn->logp[r];
    }
    step->sums[0] = climbing / step->count;
    step->sums[1] = entropy / step->count;
    step->sums[2] = (entropy - drawn->rows * step->target_entropy) / step->count;
}
