#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void Fail(int code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char* message = NULL;
  if (vasprintf(&message, format, arguments) < 0) message = NULL;
  va_end(arguments);
  // One line, and nothing that a file's bytes could tell a terminal to do.
  for (char* at = message; at && *at; ++at)
    if ((unsigned char)*at < 0x20 || *at == 0x7f) *at = ' ';
  fprintf(stderr, "tfsal_run: %s\n", message ? message : "out of memory");
  free(message);
  exit(code);
}

void* Allocate(size_t count, size_t size) {
  void* memory = calloc(count ? count : 1, size ? size : 1);
  if (!memory) Fail(kExitFailed, "out of memory: %zu x %zu bytes", count, size);
  return memory;
}

char* Format(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char* text = NULL;
  if (vasprintf(&text, format, arguments) < 0)
    Fail(kExitFailed, "out of memory");
  va_end(arguments);
  return text;
}

void FinishStdout(void) {
  errno = 0;
  if (fflush(stdout) || ferror(stdout))
    Fail(kExitFailed, "cannot write to stdout: %s",
         errno ? strerror(errno) : "not all of it was taken");
}
