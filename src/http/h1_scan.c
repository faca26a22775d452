#include "http/h1_scan.h"

#define ALNUM           (H1_TCHAR | H1_PATH | H1_QUERY | H1_HOST | H1_UNRESERVED)
#define SUB_DELIM_TCHAR (H1_TCHAR | H1_PATH | H1_QUERY)
#define PATH_ONLY       (H1_PATH | H1_QUERY)

const uint8_t h1_class[256] = {
    ['0' ... '9'] = ALNUM,
    ['A' ... 'Z'] = ALNUM,
    ['a' ... 'z'] = ALNUM,
    ['-'] = ALNUM,
    ['_'] = ALNUM | H1_UNDERSCORE,
    ['~'] = ALNUM,
    ['.'] = ALNUM | H1_NOT_PLAIN,
    ['%'] = SUB_DELIM_TCHAR | H1_NOT_PLAIN,
    ['!'] = SUB_DELIM_TCHAR,
    ['$'] = SUB_DELIM_TCHAR,
    ['&'] = SUB_DELIM_TCHAR,
    ['\''] = SUB_DELIM_TCHAR,
    ['*'] = SUB_DELIM_TCHAR,
    ['+'] = SUB_DELIM_TCHAR,
    ['|'] = SUB_DELIM_TCHAR,
    ['^'] = SUB_DELIM_TCHAR,
    ['('] = PATH_ONLY,
    [')'] = PATH_ONLY,
    [','] = PATH_ONLY,
    [';'] = PATH_ONLY,
    ['='] = PATH_ONLY,
    [':'] = PATH_ONLY,
    ['@'] = PATH_ONLY,
    ['/'] = PATH_ONLY,
    ['['] = PATH_ONLY,
    [']'] = PATH_ONLY,
    ['?'] = H1_QUERY,
    ['{'] = H1_QUERY,
    ['}'] = H1_QUERY,
    ['`'] = H1_TCHAR | H1_QUERY,
    ['#'] = H1_TCHAR,
};
