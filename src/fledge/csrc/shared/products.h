/* Products of matrices in pieces. */
#include <stdint.h>

/* C [n, m] = A [n, inner] B [inner, m] + bias [m]; without a bias, or added to what C holds. B lies
 * row by row or, `turned`, column by column, each b_row behind the one before. A piece of the work
 * is a panel of 2 * WIDE columns of C, of which B's are copied: `panels` has room for `panel`
 * numbers of each, 2 * WIDE * inner or more.
 */
typedef struct {
    int64_t n, m, inner;
    const float *a;
    int64_t a_row, a_column;
    const float *b;
    int64_t b_row, turned;
    const float *bias;
    float *c;
    int64_t c_row;
    float *panels;
    int64_t panel, adds;
} Product;

int64_t count_panels(int64_t m);

/* Copy B's columns of a panel. */
void pack_panel(const Product *product, int64_t number);

/* A panel of C, of B's columns as they were copied. */
void multiply_packed(const Product *product, int64_t number);

/* Both. */
void multiply_panel(const Product *product, int64_t number);
