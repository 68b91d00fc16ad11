/* Work on several threads, piece by piece. Whoever is awake takes the next piece, and the caller
 * waits for pieces that were begun and for no thread that has not come: beside other programs a
 * thread that waits for its core would hold up all the others at the end of every product. A
 * process that was forked has none of these threads and begins its own.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <immintrin.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "threads.h"

static struct {
    pthread_mutex_t caller;  /* held by the one whose work it is */
    pthread_mutex_t mutex;
    pthread_cond_t begun;
    Piece run;
    const void *job;
    long pieces;
    atomic_long left;        /* pieces that nobody has taken */
    atomic_long done;
    atomic_int asleep;
    int workers;
} pool = {
    .caller = PTHREAD_MUTEX_INITIALIZER,
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .begun = PTHREAD_COND_INITIALIZER,
};

enum { SPINS = 4000 }; /* some 100 µs: as long as Python takes between two products */

/* -> whether there was a piece to take */
static int take_piece(void) {
    long left = atomic_load_explicit(&pool.left, memory_order_acquire);
    while (left > 0)
        if (atomic_compare_exchange_weak(&pool.left, &left, left - 1)) {
            pool.run(pool.job, pool.pieces - left); /* stays as it is until this piece is done */
            atomic_fetch_add_explicit(&pool.done, 1, memory_order_release);
            return 1;
        }
    return 0;
}

static void *work(void *nothing) {
    for (;;) {
        int spins = 0;
        while (spins < SPINS)
            if (take_piece()) spins = 0;
            else spins++, _mm_pause();
        pthread_mutex_lock(&pool.mutex);
        atomic_fetch_add(&pool.asleep, 1);
        while (atomic_load(&pool.left) <= 0) pthread_cond_wait(&pool.begun, &pool.mutex);
        atomic_fetch_sub(&pool.asleep, 1);
        pthread_mutex_unlock(&pool.mutex);
    }
    return nothing;
}

/* Signals are for the program's own threads: they inherit that none is heard. */
static void begin_workers(int wanted) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool.workers < wanted; pool.workers++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) != 0) break;
        pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void run_pieces(Piece run, const void *job, long pieces, int threads) {
    if (threads < 2 || pieces < 2 || pthread_mutex_trylock(&pool.caller) != 0) {
        for (long piece = 0; piece < pieces; piece++) run(job, piece);
        return;
    }
    if (pool.workers < threads - 1) begin_workers(threads - 1);
    pool.run = run, pool.job = job, pool.pieces = pieces;
    atomic_store(&pool.done, 0);
    atomic_store(&pool.left, pieces);
    if (atomic_load(&pool.asleep) > 0) {
        pthread_mutex_lock(&pool.mutex);
        pthread_cond_broadcast(&pool.begun);
        pthread_mutex_unlock(&pool.mutex);
    }
    while (take_piece()) {}
    for (long spins = 0; atomic_load_explicit(&pool.done, memory_order_acquire) < pieces; spins++)
        if (spins < SPINS) _mm_pause();
        else sched_yield();
    pthread_mutex_unlock(&pool.caller);
}

static pthread_key_t kept; /* by which the room goes when its thread ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key(void) { pthread_key_create(&kept, free); }

float *take_room(int64_t numbers) {
    static _Thread_local float *room;
    static _Thread_local int64_t size;
    if (size < numbers) {
        pthread_once(&once, make_key);
        free(room);
        room = aligned_alloc(64, (numbers * sizeof(float) + 63) / 64 * 64);
        if (!room)
            abort();
        size = numbers;
        pthread_setspecific(kept, room);
    }
    return room;
}

static Team team;

void use_team(Team given) { team = given; }

struct shared {
    Piece run;
    const void *job;
    long pieces;
    atomic_long next;
};

static void share(void *given) {
    struct shared *all = given;
    for (long piece; (piece = atomic_fetch_add(&all->next, 1)) < all->pieces;)
        all->run(all->job, piece);
}

void run_in_team(Piece run, const void *job, long pieces, int threads) {
    struct shared all = {run, job, pieces, 0};
    if (!team)
        run_pieces(run, job, pieces, threads);
    else if (threads < 2 || pieces < 2)
        share(&all);
    else
        team(share, &all, threads, 0);
}

/* After a fork the locks may be held by threads that are not there. */
void begin_anew(void) {
    pthread_mutex_init(&pool.caller, NULL);
    pthread_mutex_init(&pool.mutex, NULL);
    pthread_cond_init(&pool.begun, NULL);
    atomic_store(&pool.left, 0);
    atomic_store(&pool.asleep, 0);
    pool.workers = 0;
    team = 0; /* whose threads are not there either */
}
