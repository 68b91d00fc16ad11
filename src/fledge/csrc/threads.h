/* What a library of C may do on several threads. */

typedef void (*Piece)(const void *job, long piece);

/* All pieces, on up to so many threads; on this one alone where another caller has them. */
void run_pieces(Piece run, const void *job, long pieces, int threads);

/* In a process that was forked, before anything else. */
void begin_anew(void);
