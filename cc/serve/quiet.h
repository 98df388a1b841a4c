#ifndef TFSAL_CC_SERVE_QUIET_H_
#define TFSAL_CC_SERVE_QUIET_H_

// Gives stderr back after TensorFlow's libraries have started. Call it first
// in main.
void RestoreStderr(void);

#endif  // TFSAL_CC_SERVE_QUIET_H_
