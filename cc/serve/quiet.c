// Keeps TensorFlow's chatter off stderr, where only errors belong.
//
// TensorFlow reads TF_CPP_MIN_LOG_LEVEL, and logs its oneDNN and CUDA notices
// whatever the level, from constructors of its shared libraries: before main,
// and before any constructor of this program. Only .preinit_array is earlier.
// A setenv there would be lost when the C library starts, so the program
// starts over with the variable set; no constructor has run yet, and mapping
// the libraries twice takes some 20 ms.
//
// Errors still reach the user, as the TF_Status of the call that met them.
// Setting TF_CPP_MIN_LOG_LEVEL to 0 or 1 shows everything.

#include "quiet.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int real_stderr = -1;

static void MuteStartup(int argc, char** argv, char** environment) {
  (void)argc;
  static const char kVariable[] = "TF_CPP_MIN_LOG_LEVEL=";
  int count = 0, place = -1;
  for (; environment[count]; ++count)
    if (!strncmp(environment[count], kVariable, strlen(kVariable)))
      place = count;
  int level = place < 0 ? 2 : atoi(environment[place] + strlen(kVariable));
  if (level < 2) return;
  if (level == 2) {
    // At level 2 a machine without a GPU still logs "failed call to cuInit".
    static char quiet[] = "TF_CPP_MIN_LOG_LEVEL=3";
    char* with_level[count + 2];
    memcpy(with_level, environment, (size_t)count * sizeof *environment);
    with_level[count] = NULL;
    with_level[count + 1] = NULL;
    with_level[place < 0 ? count : place] = quiet;
    execve("/proc/self/exe", argv, with_level);
    return;  // Without /proc, noise is the worst that happens.
  }
  int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (nowhere < 0) return;
  real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  if (real_stderr >= 0) dup2(nowhere, STDERR_FILENO);
  close(nowhere);
}

__attribute__((section(".preinit_array"),
               used)) static void (*const mute)(int, char**,
                                                char**) = MuteStartup;

void RestoreStderr(void) {
  if (real_stderr < 0) return;
  dup2(real_stderr, STDERR_FILENO);
  close(real_stderr);
  real_stderr = -1;
}
