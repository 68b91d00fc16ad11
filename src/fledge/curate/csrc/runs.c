/* Words of texts as numbers, and which runs of them stand twice in one text: as word_hashes.py and
   repetition.py say it, bit for bit, a text in one pass. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 64, SHORTEST_RUN = 2, LONGEST_TOP = 4, LONGEST_RUN = 10 };

static const uint64_t PRIME = 0x100000001B3u;

/* The finaliser of splitmix64. */
static inline uint64_t mix(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static inline uint64_t join(uint64_t a, uint64_t b) { return mix(a * 0x9E3779B97F4A7C15u + b); }

enum { BETWEEN = 1, LEAD = 2 };

/* What a byte is, of a text in lower case: of a word unless it is said here. */
static const uint8_t KIND[256] = {
    [0 ... '0' - 1] = BETWEEN, ['9' + 1 ... 'a' - 1] = BETWEEN, ['z' + 1 ... 127] = BETWEEN,
    [0xC2] = LEAD, [0xE2] = LEAD, [0xE3] = LEAD, [0xEF] = LEAD,
};

/* Whether EF, these two are punctuation as wide as a Chinese letter: of U+FF01 to U+FF65 what is no
   digit or letter. */
static inline int is_wide(uint8_t second, uint8_t third) {
    if (second == 0xBC)
        return third >= 0x81 && (third <= 0x8F || (third >= 0x9A && third <= 0xA0) || third >= 0xBB);
    return second == 0xBD && (third == 0x80 || (third >= 0x9B && third <= 0xA5));
}

/* How many bytes of punctuation begin here; 0 in a word. */
static inline int64_t pass(const uint8_t *at) {
    const uint8_t kind = KIND[*at];
    if (kind != LEAD) return kind;
    if (*at == 0xC2) return 2;
    if (*at == 0xEF) return is_wide(at[1], at[2]) ? 3 : 0;
    return (*at == 0xE2 ? at[1] <= 0x81 : at[1] == 0x80) ? 3 : 0;
}

/* The words of a text that ends in a line feed.  -> their number; words, starts, ends: of each,
   with room for half as many as there are bytes */
int64_t hash_words(const uint8_t *text, int64_t size, uint64_t *words, int64_t *starts,
                   int64_t *ends) {
    uint64_t powers[LONGEST];
    powers[0] = PRIME;
    for (int i = 1; i < LONGEST; i++) powers[i] = powers[i - 1] * PRIME;
    int64_t number = 0, at = 0;
    while (at < size) {
        int64_t passed = pass(text + at);
        if (passed) {
            at += passed;
            continue;
        }
        uint64_t sum = 0;
        starts[number] = at;
        for (int64_t place = 0; at < size && !pass(text + at); at++, place++)
            sum += (text[at] + (uint64_t)1) * powers[place < LONGEST ? place : LONGEST - 1];
        ends[number] = at;
        words[number++] = mix(sum);
    }
    return number;
}

/* A cell of a table: a run's hash, where it stood first, and how often it stands. */
typedef struct {
    uint64_t run;
    uint32_t first, times;
} Cell;

/* What is known of each word of a text, and the table of its runs. */
typedef struct {
    uint64_t *words, *two, *four, *eight;
    int64_t *starts, *ends, *where; /* where: the cell of the run that begins here, or -1 */
    uint8_t *twice;                 /* whether the run that begins here stands elsewhere too */
    Cell *cells;
    int64_t number, room;
} Text;

/* The hash of the run of n words at i.  As hash_runs: two halves of the longest power of two, which
   may overlap. */
static inline uint64_t hash_run(const Text *t, int n, int64_t i) {
    if (n == 2) return t->two[i];
    if (n == 3) return join(t->two[i], t->two[i + 1]);
    if (n == 4) return t->four[i];
    if (n < 8) return join(t->four[i], t->four[i + n - 4]);
    if (n == 8) return t->eight[i];
    return join(t->eight[i], t->eight[i + n - 8]);
}

/* Counts the runs of n words of which both runs of one word less stand twice: others stand but
   once.  -> how many of them stand twice; *top: the commonest, of equally common ones that of the
   smallest hash */
static int64_t count_runs(Text *t, int n, int64_t candidates, Cell *top) {
    const int64_t last = t->number - n;
    while (t->room > 4 && t->room >= 4 * candidates) t->room /= 2;
    memset(t->cells, 0, t->room * sizeof(Cell));
    for (int64_t i = 0; i <= last; i++) {
        t->where[i] = -1;
        if (!t->twice[i] || !t->twice[i + 1]) continue;
        uint64_t run = hash_run(t, n, i);
        int64_t at = run & (t->room - 1);
        while (t->cells[at].times && t->cells[at].run != run) at = (at + 1) & (t->room - 1);
        Cell *cell = t->cells + at;
        if (!cell->times++) cell->run = run, cell->first = i;
        t->where[i] = at;
    }
    int64_t number = 0;
    *top = (Cell){0, 0, 0};
    for (int64_t i = 0; i <= last; i++) {
        t->twice[i] = t->where[i] >= 0 && t->cells[t->where[i]].times > 1;
        if (!t->twice[i]) continue;
        const Cell *cell = t->cells + t->where[i];
        number++;
        if (cell->times > top->times || (cell->times == top->times && cell->run < top->run))
            *top = *cell;
    }
    return number;
}

/* As judge_runs. */
static int judge_words(Text *t, const double *most, int64_t *sizes) {
    const int64_t W = t->number;
    int64_t total = 0, candidates = W;
    Cell top;
    for (int64_t i = 0; i < W; i++) total += t->ends[i] - t->starts[i];
    for (int64_t i = 0; i + 1 < W; i++) t->two[i] = join(t->words[i], t->words[i + 1]);
    memset(t->twice, 1, W);
    for (int n = SHORTEST_RUN; n <= LONGEST_RUN; n++) {
        if (n == 4)
            for (int64_t i = 0; i + 4 <= W; i++) t->four[i] = join(t->two[i], t->two[i + 2]);
        if (n == 8)
            for (int64_t i = 0; i + 8 <= W; i++) t->eight[i] = join(t->four[i], t->four[i + 4]);
        candidates = count_runs(t, n, candidates, &top);
        if (!candidates) return 0;
        int64_t covered = 0, until = 0;
        if (n <= LONGEST_TOP) {
            for (int64_t i = top.first; i < (int64_t)top.first + n; i++)
                covered += (int64_t)top.times * (t->ends[i] - t->starts[i]);
        } else {
            for (int64_t i = 0; i + n <= W; i++) {
                if (!t->twice[i]) continue;
                for (until = until > i ? until : i; until < i + n; until++)
                    covered += t->ends[until] - t->starts[until];
            }
        }
        sizes[0] = covered, sizes[1] = total;
        if ((double)covered / (double)total > most[n]) return n;
    }
    return 0;
}

/* Runs of 2 to 10 words of one text, as Gopher's rules ask: of at most 4 the commonest, of more
   all that stand twice.  text: from a line feed to a line feed; most: by the length of a run, the
   share of all characters that these may be; sizes: of what is too much, and of all words.  -> the
   length of the first run that is too much; 0 for none; -1 without memory */
int judge_runs(const uint8_t *text, int64_t size, const double *most, int64_t *sizes) {
    int64_t most_words = size / 2 + 1;
    char *room = malloc(most_words * (7 * sizeof(int64_t) + 1));
    if (!room) return -1;
    Text t = {.words = (uint64_t *)room};
    t.two = t.words + most_words, t.four = t.two + most_words, t.eight = t.four + most_words;
    t.starts = (int64_t *)(t.eight + most_words), t.ends = t.starts + most_words;
    t.where = t.ends + most_words, t.twice = (uint8_t *)(t.where + most_words);
    t.number = hash_words(text, size, t.words, t.starts, t.ends);
    int answer = 0;
    if (t.number >= LONGEST_RUN) {
        for (t.room = 4; t.room < 2 * t.number;) t.room *= 2;
        t.cells = malloc(t.room * sizeof(Cell));
        answer = t.cells ? judge_words(&t, most, sizes) : -1;
        free(t.cells);
    }
    free(room);
    return answer;
}
