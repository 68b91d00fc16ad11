/* The words of a text as Python's split has them, counted in its UTF-8. */
#include <stdint.h>
#include <string.h>

enum { SPACE = 1, LEAD = 2, LETTER = 4, LATER = 8, CASED = 16 };

/* What a byte is. LEAD: white space may begin here; LATER: no character begins here; CASED: a
   letter beyond ASCII may begin here that has a small one. */
static const uint8_t KIND[256] = {
    [9 ... 13] = SPACE, [28 ... 32] = SPACE, ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER,
    [0x80 ... 0xBF] = LATER, [0xC2] = LEAD, [0xC3 ... 0xE0] = CASED, [0xE1] = LEAD | CASED,
    [0xE2] = LEAD, [0xE3] = LEAD, [0xEA] = CASED, [0xEF ... 0xF4] = CASED,
};

/* The bytes of the white space beyond ASCII that begins here, or 0. */
static inline int64_t find_space(const uint8_t *at, int64_t left) {
    if (at[0] == 0xC2) return left > 1 && (at[1] == 0x85 || at[1] == 0xA0) ? 2 : 0;
    if (left < 3) return 0;
    const uint8_t second = at[1], third = at[2];
    if (at[0] == 0xE1) return second == 0x9A && third == 0x80 ? 3 : 0;
    if (at[0] == 0xE3) return second == 0x80 && third == 0x80 ? 3 : 0;
    if (second == 0x81) return third == 0x9F ? 3 : 0;
    return second == 0x80 && (third <= 0x8A || third == 0xA8 || third == 0xA9 || third == 0xAF)
               ? 3 : 0;
}

/* common: K words of at most four bytes, as numbers. counts: words; their characters; words with a
   letter of ASCII; how many of the common words there are; whether a letter beyond ASCII may have a
   small one. */
void count_words(const uint8_t *text, int64_t size, const uint32_t *common, int64_t K,
                 int64_t *counts) {
    int64_t words = 0, characters = 0, lettered = 0, at = 0;
    uint64_t seen = 0;
    uint8_t all = 0;
    while (at < size) {
        uint8_t any = 0;
        const int64_t begin = at;
        int64_t passed = 0;
        for (; at < size; at++) {
            const uint8_t kind = KIND[text[at]];
            if (kind & (SPACE | LEAD)) {
                if (kind & SPACE) {
                    passed = 1;
                    break;
                }
                if ((passed = find_space(text + at, size - at))) break;
                /* Above U+20FF some of these have case: letters in circles, of Coptic. */
                if (text[at] == 0xE2 && at + 1 < size && text[at + 1] > 0x83) any |= CASED;
            }
            any |= kind;
            characters += !(kind & LATER);
        }
        if (at > begin) {
            words++;
            lettered += !!(any & LETTER);
            all |= any;
            if (at - begin <= 4) {
                uint32_t word = 0;
                memcpy(&word, text + begin, at - begin);
                for (int64_t k = 0; k < K; k++) seen |= (uint64_t)(word == common[k]) << k;
            }
        }
        at += passed;
    }
    counts[0] = words, counts[1] = characters, counts[2] = lettered;
    counts[3] = __builtin_popcountll(seen), counts[4] = !!(all & CASED);
}
