/* What a library of C may do on several threads. */
#include <stdint.h>

typedef void (*Piece)(const void *job, long piece);

/* All pieces, on up to so many threads; on this one alone where another caller has them. */
void run_pieces(Piece run, const void *job, long pieces, int threads);

/* The same on the threads of OpenMP by which torch computes, where `use_team` was told of its
 * GOMP_parallel: between torch's own operations two sets of threads would want the same cores,
 * since those that wait do not sleep at once. All threads are waited for.
 */
void run_in_team(Piece run, const void *job, long pieces, int threads);

typedef void (*Team)(void (*work)(void *), void *given, unsigned threads, unsigned flags);

void use_team(Team team);

/* -> as many numbers as are asked for, which the thread keeps; ends the process without memory. */
float *take_room(int64_t numbers);

/* In a process that was forked, before anything else. */
void begin_anew(void);
