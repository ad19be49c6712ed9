// Steps states in MuJoCo 2.1.0; make_mujoco210_golden.py compiles it. `mujoco210_step BODY.xml`
// reads rows of float64 from standard input, (steps, qpos, qvel, ctrl), takes that many mj_step
// from each state, and writes (qpos, qvel, contacts) for each.
#include <mujoco.h>

#include <cstdio>
#include <vector>

namespace {

bool SawBadState(const mjData* data) {
  return data->warning[mjWARN_BADQPOS].number || data->warning[mjWARN_BADQVEL].number ||
         data->warning[mjWARN_BADQACC].number;
}

}  // namespace

int main(int, char** argv) {
  char message[1000] = "";
  mjModel* const model = mj_loadXML(argv[1], nullptr, message, sizeof message);
  if (!model || mj_version() != 210) {
    std::fprintf(stderr, "expected MuJoCo 210 and a model, found %d %s\n", mj_version(), message);
    return 1;
  }
  mjData* const data = mj_makeData(model);
  const int nq = model->nq, nv = model->nv, nu = model->nu;
  std::vector<double> row(1 + nq + nv + nu);
  while (std::fread(row.data(), sizeof(double), row.size(), stdin) == row.size()) {
    mj_resetData(model, data);
    mju_copy(data->qpos, row.data() + 1, nq);
    mju_copy(data->qvel, row.data() + 1 + nq, nv);
    mj_forward(model, data);
    mju_copy(data->ctrl, row.data() + 1 + nq + nv, nu);
    for (int i = 0; i < static_cast<int>(row[0]); ++i) mj_step(model, data);
    if (SawBadState(data)) {
      std::fprintf(stderr, "the simulation diverged\n");
      return 1;
    }
    const double contacts = data->ncon;
    std::fwrite(data->qpos, sizeof(double), nq, stdout);
    std::fwrite(data->qvel, sizeof(double), nv, stdout);
    std::fwrite(&contacts, sizeof(double), 1, stdout);
  }
}
