// How tfsal_run stops: one line on stderr, then an exit code.
//
// A process answers one request, so nothing tries to carry on after an error;
// outputs.c, the only part that leaves something behind, cleans up by itself.

#ifndef TFSAL_CC_SERVE_REPORT_H_
#define TFSAL_CC_SERVE_REPORT_H_

#include <stddef.h>

enum { kExitOk = 0, kExitFailed = 1, kExitUsage = 2 };

// Prints `tfsal_run: MESSAGE` to stderr and exits with `code`.
_Noreturn void Fail(int code, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// Zeroed memory for `count` items of `size` bytes. Fails instead of returning
// NULL, and never asks for zero bytes.
void* Allocate(size_t count, size_t size);

// The text that printf would print, in memory the caller frees.
char* Format(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Ends what was printed. Fails if not all of it reached stdout.
void FinishStdout(void);

#endif  // TFSAL_CC_SERVE_REPORT_H_
