// Masses and inertias of both bodies against closed formulas that are computed here.
#include "envs/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <mujoco/mujoco.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numbers>

#include "envs/mujoco_env.h"
#include "envs/registry.h"

namespace cosdt::envs {
namespace {

using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Throws;

constexpr double kDensity = 1000;

struct Solid {
  double mass;
  double
      across;  // moment of inertia about an axis through the centre, at right angles to the length
  double along;  // about the length
};

Solid Cylinder(double r, double half_length) {
  const double h = half_length;
  const double m = kDensity * std::numbers::pi * r * r * 2 * h;
  return {m, m * (3 * r * r + 4 * h * h) / 12, m * r * r / 2};
}

// A cylinder between two half balls of mass m / 2 each, whose centres of mass are 3 r / 8 above its
// ends.
Solid Capsule(double r, double h) {
  const Solid cylinder = Cylinder(r, h);
  const double m = kDensity * 4 / 3 * std::numbers::pi * r * r * r;
  return {cylinder.mass + m, cylinder.across + m * (2 * r * r / 5 + h * h + 3 * h * r / 4),
          cylinder.along + 2 * m * r * r / 5};
}

// The same capsule in MuJoCo before 2.1.1.
Solid CylinderRule(double r, double h) { return Cylinder(r, h + r / 2); }

struct Inertia {
  double mass = 0;
  std::array<double, 3> principal{};  // ascending
};

// The inertia of a body from those of its capsules, about the common centre of mass.
Inertia Combine(const mjModel* model, int body, Solid (*rule)(double, double)) {
  Inertia result;
  double centre[3] = {};
  for (int g = 0; g < model->ngeom; ++g) {
    if (model->geom_bodyid[g] != body) continue;
    const Solid solid = rule(model->geom_size[3 * g], model->geom_size[3 * g + 1]);
    result.mass += solid.mass;
    mju_addToScl3(centre, model->geom_pos + 3 * g, solid.mass);
  }
  mju_scl3(centre, centre, 1 / result.mass);
  double tensor[9] = {};
  for (int g = 0; g < model->ngeom; ++g) {
    if (model->geom_bodyid[g] != body) continue;
    const Solid solid = rule(model->geom_size[3 * g], model->geom_size[3 * g + 1]);
    double axis[3], offset[3];
    const double z[3] = {0, 0, 1};
    mju_rotVecQuat(axis, z, model->geom_quat + 4 * g);
    mju_sub3(offset, model->geom_pos + 3 * g, centre);
    const double squared = mju_dot3(offset, offset);
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const double one = i == j;
        tensor[3 * i + j] += solid.across * one + (solid.along - solid.across) * axis[i] * axis[j] +
                             solid.mass * (squared * one - offset[i] * offset[j]);
      }
    }
  }
  double vectors[9], quat[4];
  mju_eig3(result.principal.data(), vectors, quat, tensor);
  std::ranges::sort(result.principal);
  return result;
}

class BodyInertiaTest : public ::testing::TestWithParam<std::tuple<std::string, Physics>> {};

TEST_P(BodyInertiaTest, MatchesClosedFormulas) {
  const auto& [name, physics] = GetParam();
  const auto owner = MakeEnv(name, physics);
  const mjModel* model = dynamic_cast<const MujocoEnv&>(*owner).model();
  Solid (*const rule)(double, double) = physics == Physics::kD4rl ? CylinderRule : Capsule;

  double total = 0;
  for (int body = 1; body < model->nbody; ++body) total += Combine(model, body, rule).mass;
  const double scale = name == "halfcheetah" ? 14 / total : 1;
  for (int body = 1; body < model->nbody; ++body) {
    const Inertia expected = Combine(model, body, rule);
    EXPECT_NEAR(model->body_mass[body], scale * expected.mass, 1e-12);
    std::array<double, 3> found;
    std::copy_n(model->body_inertia + 3 * body, 3, found.begin());
    std::ranges::sort(found);
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(found[i], scale * expected.principal[i], 1e-12)
          << mj_id2name(model, mjOBJ_BODY, body);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bodies, BodyInertiaTest,
                         ::testing::Combine(::testing::Values("hopper", "halfcheetah", "walker2d"),
                                            ::testing::Values(Physics::kD4rl,
                                                              Physics::kGymnasiumV4)),
                         [](const auto& test) {
                           return std::get<0>(test.param) +
                                  (std::get<1>(test.param) == Physics::kD4rl ? "CylinderRule"
                                                                             : "Capsule");
                         });

// The masses that D4RL's and gymnasium's simulators are known to have.
TEST(BodyMassTest, AreTheKnownOnes) {
  const std::map<std::string, std::map<std::string, std::pair<double, double>>> known = {
      {"hopper",
       {{"torso", {3.53429174, 3.66519143}},
        {"thigh", {3.92699082, 4.05789051}},
        {"leg", {2.71433605, 2.78135670}},
        {"foot", {5.08938010, 5.31557477}},
        {"total", {15.26499870, 15.82001341}}}},
      {"halfcheetah",
       {{"torso", {6.36031332, 6.25020921}},
        {"bthigh", {1.53524804, 1.54351464}},
        {"bshin", {1.58093995, 1.58744770}},
        {"bfoot", {1.06919060, 1.09539749}},
        {"fthigh", {1.42558747, 1.43807531}},
        {"fshin", {1.17885117, 1.20083682}},
        {"ffoot", {0.84986945, 0.88451883}},
        {"total", {14, 14}}}},
  };
  for (const auto& [name, bodies] : known) {
    for (const Physics physics : kAllPhysics) {
      const auto owner = MakeEnv(name, physics);
      const mjModel* model = dynamic_cast<const MujocoEnv&>(*owner).model();
      for (const auto& [body, masses] : bodies) {
        const double mass = body == "total"
                                ? mj_getTotalmass(model)
                                : model->body_mass[mj_name2id(model, mjOBJ_BODY, body.c_str())];
        EXPECT_NEAR(mass, physics == Physics::kD4rl ? masses.first : masses.second, 1e-8)
            << name << " " << body << " " << PhysicsName(physics);
      }
    }
  }
  const auto walker = MakeEnv("walker2d");
  const mjModel* model = dynamic_cast<const MujocoEnv&>(*walker).model();
  EXPECT_NEAR(mj_getTotalmass(model), 22.69800692, 1e-8);
  EXPECT_NEAR(model->body_mass[mj_name2id(model, mjOBJ_BODY, "foot_left")], 2.94053072, 1e-8);
}

// MuJoCo alone, which knows nothing of physics modes, moves the written body as the mode does.
TEST(BodyMjcfTest, MovesAsThePhysicsMode) {
  for (const std::string& name : BodyNames()) {
    for (const Physics physics : kAllPhysics) {
      const auto owner = MakeEnv(name, physics);
      auto& body = dynamic_cast<MujocoEnv&>(*owner);
      char message[1000] = "";
      mjSpec* const spec =
          mj_parseXMLString(BodyMjcf(name, physics).c_str(), nullptr, message, sizeof message);
      ASSERT_TRUE(spec) << message;
      mjModel* const model = mj_compile(spec, nullptr);
      mjData* const data = mj_makeData(model);
      for (int id = 0; id < model->nbody; ++id) {
        EXPECT_NEAR(model->body_mass[id], body.model()->body_mass[id], 1e-13) << name;
      }
      body.Reset(3);
      mju_copy(data->qpos, body.qpos().data(), body.nq());
      mju_copy(data->qvel, body.qvel().data(), body.nv());
      const std::vector<double> action(body.spec().action_size, 0.4);
      mju_copy(data->ctrl, action.data(), static_cast<int>(action.size()));
      for (int step = 0; step < 10; ++step) {
        body.Step(action);
        const int substeps =
            static_cast<int>(std::lround(body.spec().step_seconds / model->opt.timestep));
        for (int i = 0; i < substeps; ++i) mj_step(model, data);
        for (int i = 0; i < body.nv(); ++i) {
          EXPECT_NEAR(data->qvel[i], body.qvel()[i], 1e-9) << name << " " << PhysicsName(physics);
        }
      }
      mj_deleteData(data);
      mj_deleteModel(model);
      mj_deleteSpec(spec);
    }
  }
  EXPECT_THAT([] { BodyMjcf("tmaze-100", Physics::kD4rl); }, Throws<std::invalid_argument>());
}

TEST(PhysicsTest, NamesAreRead) {
  for (const Physics physics : kAllPhysics) EXPECT_EQ(ParsePhysics(PhysicsName(physics)), physics);
  EXPECT_THAT([] { ParsePhysics("mujoco"); },
              Throws<std::invalid_argument>(Property(
                  &std::invalid_argument::what,
                  HasSubstr("expected one of d4rl, gymnasium-v4, gymnasium-v5, found 'mujoco'"))));
}

TEST(CompileModelTest, SaysWhatIsWrongWithTheText) {
  EXPECT_THAT(
      [] {
        CompileModel("<mujoco><worldbody/><actuator><motor joint='none'/></actuator></mujoco>",
                     Physics::kGymnasiumV4);
      },
      Throws<std::runtime_error>(Property(&std::runtime_error::what, HasSubstr("none"))));
  EXPECT_THAT([] { CompileModel("<mujoco", Physics::kD4rl); }, Throws<std::runtime_error>());
}

}  // namespace
}  // namespace cosdt::envs
