//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	authv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// prepareVolumes returns where each volume lies. Those with files of their own are laid under the pod's folder; hostPath and
// PersistentVolumes stay where they are.
func (p *podRun) prepareVolumes(ctx context.Context) (map[string]string, error) {
	places := map[string]string{}
	for _, v := range p.pod.Spec.Volumes {
		dir := filepath.Join(p.dir(), "volumes", v.Name)
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.Chmod(dir, 0o777)); err != nil {
			return nil, err
		}
		place, err := p.prepareVolume(ctx, v, dir)
		if err == nil && place == dir { // as the kubelet: not for hostPath
			err = p.giveToGroup(dir, v.EmptyDir != nil)
		}
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		places[v.Name] = place
	}
	return places, nil
}

func (p *podRun) prepareVolume(ctx context.Context, v v1.Volume, dir string) (string, error) {
	switch {
	case v.EmptyDir != nil:
		return dir, nil
	case v.ConfigMap != nil:
		s := v1.ConfigMapProjection{LocalObjectReference: v.ConfigMap.LocalObjectReference, Items: v.ConfigMap.Items, Optional: v.ConfigMap.Optional}
		return dir, p.putSource(ctx, dir, v.ConfigMap.DefaultMode, v1.VolumeProjection{ConfigMap: &s})
	case v.Secret != nil:
		s := v1.SecretProjection{LocalObjectReference: v1.LocalObjectReference{Name: v.Secret.SecretName}, Items: v.Secret.Items, Optional: v.Secret.Optional}
		return dir, p.putSource(ctx, dir, v.Secret.DefaultMode, v1.VolumeProjection{Secret: &s})
	case v.DownwardAPI != nil:
		s := v1.DownwardAPIProjection{Items: v.DownwardAPI.Items}
		return dir, p.putSource(ctx, dir, v.DownwardAPI.DefaultMode, v1.VolumeProjection{DownwardAPI: &s})
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if err := p.putSource(ctx, dir, v.Projected.DefaultMode, s); err != nil {
				return "", err
			}
		}
		return dir, nil
	case v.HostPath != nil:
		return v.HostPath.Path, checkHostPath(v.HostPath)
	case v.PersistentVolumeClaim != nil:
		return p.claim(ctx, v.PersistentVolumeClaim.ClaimName)
	}
	return "", errors.New("not supported by localnode")
}

// putSource lays the files of one source into a volume.
func (p *podRun) putSource(ctx context.Context, dir string, mode *int32, s v1.VolumeProjection) error {
	switch {
	case s.ConfigMap != nil:
		data, err := p.configMap(ctx, s.ConfigMap.Name, s.ConfigMap.Optional)
		if err != nil {
			return err
		}
		return putKeys(dir, data, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		data, err := p.secret(ctx, s.Secret.Name, s.Secret.Optional)
		if err != nil {
			return err
		}
		return putKeys(dir, data, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return p.putFields(dir, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		token, err := p.token(ctx, s.ServiceAccountToken)
		if err != nil {
			return err
		}
		return put(dir, s.ServiceAccountToken.Path, []byte(token), mode)
	}
	return errors.New("a projected source that is not supported by localnode")
}

// putKeys lays keys of a ConfigMap or Secret into a volume: those that are listed, or all if none is.
func putKeys(dir string, data map[string][]byte, items []v1.KeyToPath, mode *int32, opt *bool) error {
	if len(items) == 0 {
		for key := range data {
			items = append(items, v1.KeyToPath{Key: key, Path: key})
		}
	}
	for _, it := range items {
		content, ok := data[it.Key]
		if !ok && optional(opt) {
			continue
		}
		if !ok {
			return fmt.Errorf("references non-existent key: %s", it.Key)
		}
		itsMode := mode
		if it.Mode != nil {
			itsMode = it.Mode
		}
		if err := put(dir, it.Path, content, itsMode); err != nil {
			return err
		}
	}
	return nil
}

func (p *podRun) putFields(dir string, items []v1.DownwardAPIVolumeFile, mode *int32) error {
	for _, it := range items {
		if it.FieldRef == nil {
			return errors.New("downward API: only fieldRef is supported")
		}
		content, err := p.field(it.FieldRef.FieldPath)
		if err != nil {
			return err
		}
		if err := put(dir, it.Path, []byte(content), mode); err != nil {
			return err
		}
	}
	return nil
}

func put(dir, name string, content []byte, mode *int32) error {
	file, perm := filepath.Join(dir, name), os.FileMode(0o644)
	if mode != nil {
		perm = os.FileMode(*mode)
	}
	// The mode of a new file is subject to the umask, hence Chmod.
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, content, perm), os.Chmod(file, perm))
}

// token returns a token of the pod's service account.
func (p *podRun) token(ctx context.Context, t *v1.ServiceAccountTokenProjection) (string, error) {
	req := &authv1.TokenRequest{Spec: authv1.TokenRequestSpec{ExpirationSeconds: t.ExpirationSeconds,
		BoundObjectRef: &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.pod.Name, UID: p.pod.UID}}}
	if t.Audience != "" {
		req.Spec.Audiences = []string{t.Audience}
	}
	accounts := p.n.client.CoreV1().ServiceAccounts(p.pod.Namespace)
	req, err := accounts.CreateToken(ctx, p.pod.Spec.ServiceAccountName, req, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return req.Status.Token, nil
}

func checkHostPath(h *v1.HostPathVolumeSource) error {
	if h.Type != nil && *h.Type == v1.HostPathDirectoryOrCreate {
		return os.MkdirAll(h.Path, 0o755)
	}
	_, err := os.Stat(h.Path)
	return err
}

// claim returns the folder that a PersistentVolumeClaim is bound to.
func (p *podRun) claim(ctx context.Context, name string) (string, error) {
	pvc, err := p.n.client.CoreV1().PersistentVolumeClaims(p.pod.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	pv, err := p.n.client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	switch {
	case pv.Spec.HostPath != nil:
		return pv.Spec.HostPath.Path, os.MkdirAll(pv.Spec.HostPath.Path, 0o777)
	case pv.Spec.Local != nil:
		return pv.Spec.Local.Path, nil
	}
	return "", fmt.Errorf("PersistentVolume %s: only hostPath and local are supported", pv.Name)
}

// giveToGroup does what fsGroup asks for: the group owns all files and may read them, and in an emptyDir write them.
func (p *podRun) giveToGroup(dir string, writable bool) error {
	if p.pod.Spec.SecurityContext == nil || p.pod.Spec.SecurityContext.FSGroup == nil {
		return nil
	}
	group := int(*p.pod.Spec.SecurityContext.FSGroup)
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode().Perm() | 0o440
		if writable {
			mode |= 0o660
		}
		if entry.IsDir() {
			mode |= 0o110 | os.ModeSetgid
		}
		return errors.Join(os.Chown(file, -1, group), os.Chmod(file, mode))
	})
}

func (p *podRun) isReadOnly(volume string) bool {
	for _, v := range p.pod.Spec.Volumes {
		if v.Name == volume {
			claimed := v.PersistentVolumeClaim
			return v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.DownwardAPI != nil || claimed != nil && claimed.ReadOnly
		}
	}
	return false
}
